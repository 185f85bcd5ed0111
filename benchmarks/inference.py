"""
How long from picture to action: torch, torch.compile, onnxruntime, LeRobot's ACT, the real node.

Tables for people, then one JSON object in the last line. Run it with ``make bench-inference``.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager, ExitStack
from datetime import date
import importlib.metadata
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

from efm_bringup.graph import NodeSpec
from efm_bringup.processes import environment, reserve_domain, to_command
from efm_bringup.run import open_run
from efm_core.embodiment import load_embodiment
from efm_model.runtime import FrameHistory, model_inputs
from efm_model.text import ensure_text_encoder, TextEncoder
from figures import percentiles, ratio, spread, table
import numpy as np

HERE = Path(__file__).parent
PAUSE_S = 0.01  # between two pictures: the node's other work is done by then
COMPARED = ('torch eager', 'torch.compile', 'onnxruntime', 'ACT', 'ACT chunk')
REQUIRED = (
    'torch_eager_over_onnxruntime',
    'node_over_onnxruntime_p50',
    'node_over_onnxruntime_p99',
    'act_over_compact',
)
Figures = dict[str, Any]


class Worker:
    """A process that measures when it is asked to; ``backends.py`` and ``camera.py`` are such."""

    def __init__(self, command: list[str], env: dict[str, str]):
        """Start it and hear what it is; ``facts`` has ``missing`` when it cannot be had."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.rounds: list[list[float]] = []
        self.processor: list[list[float]] = []
        self.facts = self._hear()

    def measure(self, calls: int, seconds: float, pause: float = 0.0) -> None:
        """Add one round: latencies, and the processor's time for a call [s]."""
        self._process.stdin.write(f'{calls} {seconds} {pause}\n')
        self._process.stdin.flush()
        found = self._hear()
        self.rounds.append(found['latencies'])
        self.processor.append([found['processor']])

    def _hear(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f'{self._process.args}: ended with {self._process.wait()}')
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def main(arguments: list[str] | None = None) -> Figures:
    """Measure, print tables for people, then the JSON line."""
    options = parse(arguments)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        observations = prepare(folder, options)
        compared = compare(folder, options)
        node = measure_node(folder, options)
        sides = measure_in_process(folder, observations, options)
    figures = summarise(compared, node, options.threads[0])
    show(options, compared, node, sides, (load, os.getloadavg()[0]))
    figures |= {'load': [load, os.getloadavg()[0]], **sides}
    print(json.dumps(rounded(figures)))
    if options.require_act and figures['act_over_compact'] is None:
        raise SystemExit('ACT was required and could not be had')
    return figures


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--stage-one', type=Path, help='folder with policy and reward checkpoints; else trains')
    add('--demonstrations', type=int, default=80, help='of which a quarter is for parity')
    add('--iterations', type=int, default=1000, help='of fine-tuning, without --stage-one')
    add('--rounds', type=int, default=7, help='turns of everything that is compared')
    add('--calls', type=int, default=300, help='in one turn, at most')
    add('--seconds', type=float, default=2.0, help='of one turn, about, at most')
    add('--threads', type=int, nargs='+', default=[1, 2])
    add('--backends', nargs='+', default=COMPARED, choices=COMPARED)
    add('--require-act', action='store_true', help='fail without LeRobot')
    add('--quick', action='store_true', help='without the node and the slowest quantisations')
    return parser.parse_args(arguments)


def prepare(folder: Path, options: argparse.Namespace) -> dict[str, list[dict]]:
    """Put policy, release and inputs into ``folder``; return real observations for parity."""
    import efm_model.torch_runtime  # noqa: F401, torch before any GL context
    from efm_sim.rollout import demonstrate
    from efm_sim.table.config import TableConfig
    from efm_sim.table.world import Table
    import torch

    torch.set_num_threads(1)
    robot = load_embodiment(open_run(str(folder), ''))
    encoder = TextEncoder(ensure_text_encoder())
    tables = [Table(TableConfig()) for _ in range(4)]
    episodes = demonstrate(tables, range(options.demonstrations), robot)
    held_out = max(1, len(episodes) // 4)
    learning = episodes[held_out:]
    others = episodes[:held_out]
    publish(folder, robot, encoder, learning, options)
    calibration, parity = (
        [one for episode in some for one in inputs(episode, encoder, robot)]
        for some in (learning[:8], others)
    )
    np.savez(folder / 'inputs.npz', **parity[0])
    np.save(folder / 'pictures.npy', others[0].observations)
    (folder / 'instruction.txt').write_text(others[0].instruction)
    return {'calibration': calibration[::4], 'parity': parity}


def publish(folder: Path, robot, encoder, episodes: list, options: argparse.Namespace) -> None:
    """Fine-tune, or take what was, and publish it as the release that the node loads."""
    from efm_model.checkpoint import load_checkpoint
    from efm_model.export import export_policy, export_reward, parity
    from efm_release import publish as release
    from efm_trainer.config import SftConfig
    from efm_trainer.sft import fine_tune

    for kind in ('policy', 'reward') if options.stage_one else ():
        (folder / kind).symlink_to((options.stage_one / kind).absolute())
    if not options.stage_one:
        learning = SftConfig(iterations=options.iterations)
        fine_tune(episodes, robot, encoder, learning, folder)
    files = []
    reports = []
    for kind, export in (('policy', export_policy), ('reward', export_reward)):
        model = load_checkpoint(folder / kind, robot)[0]
        files.append(export(model, folder / f'{kind}.onnx', robot, 1))
        reports.append(parity(model, files[-1], robot, kind))
    release.publish(folder / 'releases', 1, *files, 'active', robot, tuple(reports))


def inputs(episode, encoder: TextEncoder, robot) -> list[dict[str, np.ndarray]]:
    """Return what the policy is given at each step of an episode, at temperature 0."""
    from efm_core.tokeniser import ActionTokeniser

    vocabulary = ActionTokeniser(robot.action).vocabulary
    silence = np.zeros((1, len(vocabulary), max(vocabulary)), np.float32)
    history = FrameHistory(encoder.encode(episode.instruction))
    return [
        {**model_inputs([history], picture[None]), 'gumbel': silence}
        for picture in episode.observations
    ]


def start(stack: ExitStack, command: list[str], threads: int = 1, **env: str) -> Worker:
    """Return a worker that lives as long as ``stack``; it has so many threads of arithmetic."""
    paths = [str(HERE), str(HERE.parent), os.environ.get('PYTHONPATH', '')]
    own = {'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    worker = Worker(
        [sys.executable, *command], {**os.environ, **own, 'HF_HUB_OFFLINE': '1', **env}
    )
    stack.callback(worker.close)
    return worker


def compare(folder: Path, options: argparse.Namespace) -> dict[tuple[str, int], Worker]:
    """Return what was measured of each backend with each number of threads, in turns."""
    wanted = [(name, threads) for threads in options.threads for name in options.backends]
    with ExitStack() as stack:
        workers = {
            (name, threads): start(
                stack, [str(HERE / 'backends.py'), name, str(threads), str(folder)], threads
            )
            for name, threads in wanted
        }
        for _ in range(options.rounds):
            for worker in workers.values():
                if 'missing' not in worker.facts:
                    worker.measure(options.calls, options.seconds)
    return workers


def measure_node(folder: Path, options: argparse.Namespace) -> dict[str, Worker]:
    """Return what was measured of the policy node over DDS and of what it cannot do without."""
    if options.quick:
        return {}
    with ExitStack() as stack, ros_domain() as own, open(folder / 'node.log', 'w') as log:
        parameters = {
            'embodiment': str(folder / 'embodiment.yaml'),
            'release': str(folder / 'releases' / '000001'),
            'text_encoder': str(ensure_text_encoder()),
            'lockstep': True,
            'temperature': 0.0,
        }
        node = NodeSpec('policy_node', 'policy', namespace='robot_0', parameters=parameters)
        process = subprocess.Popen(to_command(node, 'warn'), env=own, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        backend = [str(HERE / 'backends.py'), 'picture', '1', str(folder)]
        workers = {
            'camera': start(stack, [str(HERE / 'camera.py'), str(folder)], **own),
            'picture': start(stack, backend),
        }
        for _ in range(options.rounds):
            for worker in workers.values():
                worker.measure(options.calls, options.seconds + options.calls * PAUSE_S, PAUSE_S)
    return workers


@contextmanager
def ros_domain():
    """Give a ROS domain that nobody else has, as an environment."""
    domain, lock = reserve_domain()
    try:
        yield environment(domain, 'LOCALHOST')
    finally:
        lock.release()


def measure_in_process(folder: Path, observations: dict, options: argparse.Namespace) -> Figures:
    """Return the figures of precisions and of session options."""
    from precision import measure_options, measure_precisions

    seconds = options.seconds / 4
    policy = folder / 'policy.onnx'
    return {
        'precision': measure_precisions(
            policy,
            observations['calibration'],
            observations['parity'],
            folder / 'precision',
            options.rounds,
            seconds,
            whole=not options.quick,
        ),
        'options': measure_options(policy, observations['parity'][0], options.rounds, seconds),
        'observations': len(observations['parity']),
    }


def rounded(value: Any) -> Any:
    """Return figures with four digits, for JSON."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f'{value:.4g}') if isinstance(value, float) else value


def over(
    workers: dict, slow: Any, fast: Any, percentile: float = 50, what: str = 'rounds'
) -> dict | None:
    """Return the ratio of two workers, or None where one of them could not be had."""
    if not all(key in workers and workers[key].rounds for key in (slow, fast)):
        return None
    return ratio(getattr(workers[slow], what), getattr(workers[fast], what), percentile)


def summarise(compared: dict, node: dict, threads: int) -> Figures:
    """Return the ratios, each its median over the rounds, with its least and most."""
    fast = ('onnxruntime', threads)
    found = {
        'torch_eager_over_onnxruntime': over(compared, ('torch eager', threads), fast),
        'torch_compile_over_onnxruntime': over(compared, ('torch.compile', threads), fast),
        'act_over_compact': over(compared, ('ACT', threads), fast),
        'act_over_compact_processor': over(compared, ('ACT', threads), fast, what='processor'),
        'node_over_onnxruntime_p50': over(node, 'camera', 'picture'),
        'node_over_onnxruntime_p99': over(node, 'camera', 'picture', 99),
    }
    medians = {key: value and value['median'] for key, value in found.items()}
    return {**medians, 'spreads': {k: v and [v['low'], v['high']] for k, v in found.items()}}


def show(options, compared: dict, node: dict, sides: Figures, load: tuple[float, float]) -> None:
    """Print what was measured, for people and for docs/benchmarks.md."""
    versions = ', '.join(
        f'{name} {importlib.metadata.version(name)}' for name in ('onnxruntime', 'torch', 'numpy')
    )
    print(
        f'{date.today()}, load {load[0]:.1f} before and {load[1]:.1f} after, {versions}; '
        f'{options.rounds} rounds\n'
    )
    print(backend_table(compared), end='\n\n')
    for key, worker in compared.items():
        if 'missing' in worker.facts:
            print(f'{key[0]}: not measured: {worker.facts["missing"]}')
    if node:
        print(node_table(node), end='\n\n')
    print(option_table(sides['options']), end='\n\n')
    print(precision_table(sides), end='\n\n')


def backend_table(compared: dict) -> str:
    """Return the table of backends, batch 1."""
    rows = []
    for (name, threads), worker in compared.items():
        if worker.rounds:
            actions = worker.facts.get('actions', 1)
            p = percentiles([np.asarray(r) / actions for r in worker.rounds])
            against = spread(over(compared, (name, threads), ('onnxruntime', threads)))
            against = 'each of its actions' if actions > 1 else against
            processor = percentiles([np.asarray(r) / actions for r in worker.processor])['p50']
            latencies = [f'{value:.2f}' for value in (p['p50'], p['p99'], processor)]
            rows.append([name, threads, *latencies, worker.facts['memory_mb'], against])
    header = ['batch 1', 'threads', 'p50 [ms]', 'p99 [ms]', 'processor [ms]', 'memory [MB]']
    header.append('over onnxruntime, p50')
    return table(header, rows)


def node_table(node: dict) -> str:
    """Return the table of the node."""
    names = {'camera': 'picture published to action here', 'picture': 'onnxruntime, same pace'}
    rows = []
    for key, text in names.items():
        p = percentiles(node[key].rounds)
        rows.append([text, f'{p["p50"]:.2f}', f'{p["p99"]:.2f}'])
    rows.append(
        ['**one over the other**', *(spread(over(node, *names, percentile=p)) for p in (50, 99))]
    )
    return table(['policy node over DDS', 'p50 [ms]', 'p99 [ms]'], rows)


def option_table(found: Figures) -> str:
    """Return the table of session options."""
    rows = [
        [name, f'{f["p50"]:.3f}', f'{f["p99"]:.3f}', spread(f['speed'])]
        for name, f in found.items()
    ]
    return table(['session', 'p50 [ms]', 'p99 [ms]', 'speed'], rows)


def precision_table(sides: Figures) -> str:
    """Return the table of precisions."""
    rows = [
        [
            name,
            f'{f["p50"]:.3f}',
            spread(f['speed']),
            f'{100 * f["same_tokens"]:.1f} %',
            f'{f["kl_mean"]:.1e}',
            f'{f["kl_p99"]:.1e}',
            f['kilobytes'],
        ]
        for name, f in sides['precision'].items()
    ]
    header = [
        f'{sides["observations"]} observations',
        'p50 [ms]',
        'speed',
        'same tokens',
        'KL, mean',
        'KL, p99',
        'kB',
    ]
    return table(header, rows)


if __name__ == '__main__':
    main()
