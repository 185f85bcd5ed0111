"""Runs of the command `efm`, as a person types it, in separate processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from typing import Any

from efm_bringup.graph import KINDS
import psutil
import pytest
from waiting import alive_after, run_to_end, scaled, wait_for
import yaml

ROOT = Path(__file__).resolve().parents[2]
SMALL = ('--body', 'tool', '--max-steps', '10')
# Time limits of the nodes [s]: on a machine that does nothing else, and at most.
LIMITS = {
    'supervisor': {
        'stall_timeout_s': (10.0, 600.0),
        'silence_timeout_s': (2.0, 600.0),
        'reset_timeout_s': (30.0, 3600.0),
    },
    'recorder': {'completion_timeout_s': (5.0, 60.0)},
    'fleet': {'ready_timeout_s': (60.0, 3600.0), 'stall_timeout_s': (120.0, 36000.0)},
}
STOP_S = 4.0  # from SIGTERM to SIGKILL


def write_limits(path: Path) -> Path:
    """Write the time limits of the nodes, for the load of this moment, as ROS parameters."""
    nodes = {
        node: {'ros__parameters': {name: scaled(*limit) for name, limit in limits.items()}}
        for node, limits in LIMITS.items()
    }
    path.write_text(yaml.safe_dump(nodes))
    return path


class Started(psutil.Popen):
    """
    A command that runs beside a test.

    :ivar crew: the processes it has started; the test ends them with it.
    """

    crew: list[psutil.Process] = []  # noqa: RUF012  # each start assigns a list of its own


class Lab:
    """
    A run's directory and the commands on it.

    :ivar said: output of each command, by its first word.
    """

    def __init__(self, run: Path):
        self.run = run
        self.said: dict[str, str] = {}

    def copy(self, run: Path) -> Lab:
        """Return a separate laboratory with a copy of this run."""
        shutil.copytree(self.run, run)
        return Lab(run)

    def command(self, verb: str, *words: Any) -> list[str]:
        """Return the command line of a verb on this run, with time limits for this machine."""
        efm = [sys.executable, '-m', 'efm.cli', verb, '--run', str(self.run)]
        if verb in KINDS:
            limits = write_limits(self.run.with_name(f'{self.run.name}-limits.yaml'))
            efm += ['--params-file', str(limits), '--stop-timeout-s', str(scaled(STOP_S))]
        if verb == 'practice':
            efm += ['--min-precision', '0']  # stage 1 is too short for a detector that is right
        return [*efm, *map(str, words)]

    def efm(self, verb: str, *words: Any, code: int = 0) -> str:
        """Run a command to its end and return its output; it must end with ``code``."""
        done = run_to_end(self.command(verb, *words), 300, cwd=ROOT)
        self.said[verb] = done.stdout + done.stderr
        assert done.returncode == code, self.said[verb]
        return self.said[verb]

    @contextmanager
    def started(self, verb: str, *words: Any) -> Iterator[Started]:
        """Run a command beside the test in its own process group; end all of it afterwards."""
        with open(self.run / 'said.txt', 'w') as said:
            process = Started(
                self.command(verb, *words),
                cwd=ROOT,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            wait_for(lambda: self.results(verb), f'the first episode of {verb}')
            process.crew = process.children(recursive=True)
            yield process
        finally:
            for survivor in (process, *process.crew):
                if survivor.is_running():
                    survivor.kill()
            process.wait()

    @contextmanager
    def served(self, *words: Any) -> Iterator[tuple[subprocess.Popen, str, Path]]:
        """Serve this run's policy; yield the process, its address and the file of its output."""
        said = self.run / 'served.txt'
        with open(said, 'w') as out:
            process = subprocess.Popen(
                self.command('serve', '--port', 0, *words), cwd=ROOT, stdout=out, stderr=out
            )
        try:
            wait_for(
                lambda: ' on port ' in said.read_text() or process.poll() is not None, 'a server'
            )
            assert process.poll() is None, said.read_text()
            port = said.read_text().split(' on port ')[1].split(':')[0]
            yield process, f'127.0.0.1:{port}', said
        finally:
            process.kill()
            process.wait()

    def results(self, verb: str) -> list[str]:
        """Return the result lines that the fleet has written so far."""
        path = self.run / 'results' / f'{KINDS[verb]}.jsonl'
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture(scope='session')
def new_lab(tmp_path_factory) -> Callable[[str], Lab]:
    """Return a function that makes an empty run."""
    return lambda name: Lab(tmp_path_factory.mktemp(name) / 'run')


@pytest.fixture(scope='session')
def taught(tmp_path_factory) -> Lab:
    """Return a run after stage 1: six demonstrations, release 1."""
    lab = Lab(tmp_path_factory.mktemp('taught') / 'run')
    lab.efm('record', '--fleet', 2, '--body', 'tool', '--episodes', 6, '--max-steps', 60)
    lab.efm('train', '--iterations', 60)
    return lab


@pytest.fixture(scope='session')
def practised(taught, tmp_path_factory) -> Lab:
    """Return a run after one pass through the whole loop."""
    lab = taught.copy(tmp_path_factory.mktemp('practised') / 'run')
    evaluate = ('evaluate', *SMALL, '--seed', 1000, '--episodes', 4)
    lab.efm(
        *evaluate, '--policy-version', 1, '--fleet', 2, '--episodes-subdir', 'evaluation_before'
    )
    lab.efm('practice', *SMALL, '--seed', 5000, '--episodes', 16, '--fleet', 2)
    lab.efm(*evaluate, '--policy-version', 1, '--fleet', 1, '--episodes-subdir', 'again')
    lab.efm('report')
    return lab


@pytest.fixture
def lab(taught, tmp_path) -> Lab:
    """Return a copy of the run after stage 1 for one test alone."""
    return taught.copy(tmp_path / 'run')


@pytest.fixture
def send() -> Callable[[Started, int, float], list[psutil.Process]]:
    """Return a function that sends a signal and returns the processes alive some seconds later."""

    def send(process: Started, number: int, seconds: float) -> list[psutil.Process]:
        process.send_signal(signal.Signals(number))
        return alive_after([process, *process.crew], seconds)

    return send
