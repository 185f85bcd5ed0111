"""
What happens when a node is killed or stands still: every node, in real time, with two robots.

The last line is one JSON object. Run it with ``make bench-faults``; it takes about 15 minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, KW_ONLY
import itertools
import json
import os
from pathlib import Path
import signal
import sys
import tempfile
import time
from typing import Any

from efm_bringup.run import open_run
from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.ros_lifecycle import make_executor
from efm_data.episodes import read_episode
from efm_interfaces.msg import EpisodeEvent
from geometry_msgs.msg import TwistStamped
from graph import publish_untrained
import numpy as np
import psutil
from rclpy.context import Context
from rclpy.node import Node
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
ROBOT = 'robot_0'
MODULES = {
    'world': 'efm_sim.node',
    'policy': 'efm_policy.node',
    'reward': 'efm_reward.node',
    'guard': 'efm_guard.node',
    'supervisor': 'efm_supervisor.node',
    'recorder': 'efm_data.recorder_node',
    'fleet': 'efm_supervisor.fleet_node',
}
# Without these the robot has no driver or no prediction: it must stop, and no label is true.
NEEDED = ('world', 'policy', 'reward', 'guard', 'supervisor')
SIGNALS = {'SIGKILL': signal.SIGKILL, 'SIGSTOP 5 s': signal.SIGSTOP}
MAX_STEPS = 100  # at 10 Hz an episode lasts longer than a node stands still
BEGUN_S = 2.0  # from START to the fault
STILL_S = 5.0
MORE_EPISODES = 2  # without a fault, after which the run has recovered
PATIENCE_S = 180.0  # for the start of a run, and for its recovery
DOMAIN = 77


@dataclass(frozen=True)
class Fault:
    """One row of the matrix."""

    node: str
    kind: str
    _: KW_ONLY
    respawn: bool

    def __str__(self) -> str:
        """Return the row in words."""
        return f'{self.node}, {self.kind}, {"with" if self.respawn else "without"} respawn'


@dataclass(frozen=True)
class Finding:
    """
    What one fault led to.

    :param recorded: outcome and termination of the interrupted episode; '' for none.
    :param stop_s: from the fault to the last command that moves; None where none must follow.
    :param recovery_s: from the fault to the next episodes without a fault; None if the run ended.
    :param wrong_label: the interrupted episode is called a success or a failure.
    :param lost: an episode was begun, and no attempt at it has finished.
    :param short: bags of the run that lack executed actions, or that cannot be read.
    :param stalled: the run neither went on nor ended.
    """

    recorded: str
    _: KW_ONLY
    stop_s: float | None
    recovery_s: float | None
    detail: str = ''
    wrong_label: bool = False
    lost: int = 0
    short: int = 0
    stalled: bool = False


class Observer:
    """Notes the episodes and the moving commands of one robot; times in s, monotonic."""

    def __init__(self, context: Context, name: str):
        self._executor = make_executor(context)
        self._node = Node(name, context=context, namespace=f'/{ROBOT}')
        self._executor.add_node(self._node)
        self.starts: list[tuple[float, str]] = []
        self.moves: list[float] = []
        ros_topics.subscription(self._node, topics.EPISODE_EVENT, self._on_event)
        ros_topics.subscription(self._node, topics.COMMAND, self._on_command)

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.START:
            self.starts.append((time.monotonic(), event.episode_id))

    def _on_command(self, command: TwistStamped) -> None:
        if command.twist.linear.x or command.twist.linear.y:
            self.moves.append(time.monotonic())

    def close(self) -> None:
        """End the node."""
        self._executor.remove_node(self._node)
        self._node.destroy_node()

    def spin_until(self, fact: Callable[[], Any], seconds: float) -> bool:
        """Process messages until ``fact()`` holds; return whether it did in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if fact():
                return True
            self._executor.spin_once(timeout_sec=0.05)
        return False


class Run:
    """A run of ``efm evaluate`` in real time, with two robots."""

    def __init__(self, folder: Path, subdir: str, *, respawn: bool):
        self._results = folder / 'results' / f'{subdir}.jsonl'
        self._command = [
            *(sys.executable, '-m', 'efm.cli', 'evaluate', '--run', str(folder)),
            *('--no-lockstep', '--body', 'tool', '--fleet', '2', '--episodes', '100000'),
            *('--max-steps', str(MAX_STEPS), '--domain-id', str(DOMAIN)),
            *('--episodes-subdir', subdir, '--use-respawn' if respawn else '--no-use-respawn'),
        ]
        self._log = folder / f'{subdir}.txt'
        self._embodiment = load_embodiment(open_run(str(folder), ''))

    @contextmanager
    def started(self) -> Iterator[psutil.Popen]:
        """Run it; end all of its processes afterwards."""
        with open(self._log, 'w') as log:
            process = psutil.Popen(self._command, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            crew = process.children(recursive=True) if process.is_running() else []
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            _, alive = psutil.wait_procs([process, *crew], timeout=15)
            for survivor in alive:
                survivor.kill()

    @property
    def results(self) -> list[dict[str, Any]]:
        """The result lines so far."""
        lines = self._results.read_text().splitlines() if self._results.is_file() else []
        return [json.loads(line) for line in lines]

    def is_short(self, line: dict[str, Any]) -> bool:
        """Return whether the bag of a result line lacks actions that the line counts."""
        if line['termination'] == 'fault':
            return False
        try:
            return len(read_episode(line['recording'], self._embodiment)) < line['steps']
        except (OSError, ValueError):
            return True


def main() -> None:
    """Cause each fault; print a table, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nodes', nargs='+', choices=MODULES, default=list(MODULES))
    options = parser.parse_args()
    rows = itertools.product(options.nodes, SIGNALS, (True, False))
    faults = [Fault(node, kind, respawn=respawn) for node, kind, respawn in rows]
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    context = Context()
    context.init(domain_id=DOMAIN)
    console = Console()
    found: dict[Fault, Finding] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish_untrained(folder, load_embodiment(open_run(name, '')))
        for number, fault in enumerate(faults):
            console.print(f'{number + 1} of {len(faults)}: {fault}')
            found[fault] = cause(fault, folder, f'fault{number}', context)
            console.print(f'  {asdict(found[fault])}', markup=False, highlight=False)
    context.try_shutdown()
    console.print(to_table(found))
    print(json.dumps(summarise(found)))


def cause(fault: Fault, folder: Path, subdir: str, context: Context) -> Finding:
    """Start a run, cause the fault in an episode of one robot, and return what followed."""
    observer = Observer(context, f'observer_{subdir}')
    run = Run(folder, subdir, respawn=fault.respawn)
    with run.started() as process:
        if not observer.spin_until(lambda: observer.starts, PATIENCE_S):
            return Finding('', stop_s=None, recovery_s=None, detail='no start', stalled=True)
        began, episode = observer.starts[-1]
        observer.spin_until(lambda: time.monotonic() > began + BEGUN_S, 2 * BEGUN_S)
        victim = find_node(process, fault.node)
        at = time.monotonic()
        victim.send_signal(SIGNALS[fault.kind])
        done = len(run.results)
        if fault.kind != 'SIGKILL':
            observer.spin_until(lambda: time.monotonic() > at + STILL_S, 2 * STILL_S)
            victim.send_signal(signal.SIGCONT)

        def is_settled() -> bool:
            return has_recovered(run, done) or is_over(process)

        went_on = observer.spin_until(is_settled, PATIENCE_S)
        observer.close()
        over = is_over(process)
        return describe(fault, run, episode, observer, at=at, went_on=went_on, over=over)


def has_recovered(run: Run, done: int) -> bool:
    """Return whether both robots have finished episodes after the interrupted ones."""
    later = [line for line in run.results[done:] if line['termination'] != 'fault']
    robots = {line['robot'] for line in later}
    return len(robots) == 2 and len(later) >= 2 + MORE_EPISODES


def is_over(process: psutil.Popen) -> bool:
    """Return whether the run has ended."""
    return process.poll() is not None


def describe(
    fault: Fault,
    run: Run,
    episode: str,
    observer: Observer,
    *,
    at: float,
    went_on: bool,
    over: bool,
) -> Finding:
    """Return what followed a fault that was caused at a time [s, monotonic] in an episode."""
    line = next((line for line in run.results if line['episode_id'] == episode), None)
    recorded = f'{line["outcome"]}, {line["termination"]}' if line else ''
    needed = fault.node in NEEDED
    following = min((start for start, name in observer.starts if start > at), default=np.inf)
    moves = [move - at for move in observer.moves if at < move < following]
    begun = {index_of(name) for _, name in observer.starts[:-1]}
    finished = {line['index'] for line in run.results if line['termination'] != 'fault'}
    under_way = {index_of(observer.starts[-1][1])}
    return Finding(
        recorded,
        stop_s=round(max(moves, default=0.0), 2) if needed else None,
        recovery_s=None if over else round(time.monotonic() - at, 1),
        detail=line['detail'] if line else '',
        wrong_label=needed and line is not None and line['termination'] != 'fault',
        lost=0 if over else len(begun - finished - under_way),
        short=sum(map(run.is_short, run.results)),
        stalled=not went_on,
    )


def index_of(episode_id: str) -> int:
    """Return the index in an episode's name, such as ``evaluation-000003-2``."""
    return int(episode_id.split('-')[1])


def find_node(process: psutil.Popen, node: str) -> psutil.Process:
    """Return the process of a node; of a robot's nodes, that of the observed robot."""
    for child in process.children(recursive=True):
        try:
            words = ' '.join(child.cmdline())
        except psutil.Error:
            continue
        is_ours = node == 'fleet' or f'__ns:=/{ROBOT}' in words
        is_ours = is_ours and 'efm_bringup.respawn' not in words  # which starts the node
        if is_ours and '--ros-args' in words and f'-m {MODULES[node]} ' in words:
            return child
    raise RuntimeError(f'{node}: expected a process of {MODULES[node]}, got none')


def to_table(found: dict[Fault, Finding]) -> Table:
    """Return the matrix for people."""
    table = Table('node', 'fault', 'respawn', 'stop [s]', 'recorded', 'run', title='Faults')
    for fault, finding in found.items():
        went = 'stalled' if finding.stalled else 'ended'
        if finding.recovery_s is not None and not finding.stalled:
            went = f'went on after {finding.recovery_s} s'
        stop = '-' if finding.stop_s is None else f'{finding.stop_s:.2f}'
        respawn = 'yes' if fault.respawn else 'no'
        table.add_row(fault.node, fault.kind, respawn, stop, finding.recorded, went)
    return table


def summarise(found: dict[Fault, Finding]) -> dict[str, Any]:
    """Return the figures of the JSON line."""
    stops = [finding.stop_s for finding in found.values() if finding.stop_s is not None]
    return {
        'faults': len(found),
        'worst_stop_s': max(stops, default=None),
        'wrong_labels': sum(finding.wrong_label for finding in found.values()),
        'episodes_lost': sum(finding.lost for finding in found.values()),
        'short_bags': sum(finding.short for finding in found.values()),
        'fleets_stalled': sum(finding.stalled for finding in found.values()),
    }


if __name__ == '__main__':
    main()
