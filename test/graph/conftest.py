"""Runs of the command `efm`, as a person types it, in processes of their own."""

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
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
SMALL = ('--body', 'tool', '--max-steps', '10')


class Lab:
    """
    A run's directory and the commands on it.

    :ivar said: what each command printed, by its first word.
    """

    def __init__(self, run: Path):
        self.run = run
        self.said: dict[str, str] = {}

    def copy(self, run: Path) -> Lab:
        """Return a laboratory of its own that begins where this one is."""
        shutil.copytree(self.run, run)
        return Lab(run)

    def command(self, verb: str, *words: Any) -> list[str]:
        """Return the command line of a verb on this run."""
        efm = [sys.executable, '-m', 'efm.cli', verb, '--run', str(self.run)]
        return [*efm, *map(str, words)]

    def efm(self, verb: str, *words: Any, code: int = 0) -> str:
        """Run a command to its end and return what it said; it must end with ``code``."""
        done = subprocess.run(
            self.command(verb, *words), cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        self.said[verb] = done.stdout + done.stderr
        assert done.returncode == code, self.said[verb]
        return self.said[verb]

    @contextmanager
    def started(self, verb: str, *words: Any) -> Iterator[psutil.Popen]:
        """Run a command beside the test, as the leader of a process group; leave nothing."""
        with open(self.run / 'said.txt', 'w') as said:
            process = psutil.Popen(
                self.command(verb, *words),
                cwd=ROOT,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        process.crew = []
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
        """Serve this run's policy; yield the process, where it is and the file of what it says."""
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
        """Return the lines that the fleet has written so far."""
        path = self.run / 'results' / f'{KINDS[verb]}.jsonl'
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture(scope='session')
def new_lab(tmp_path_factory) -> Callable[[str], Lab]:
    """Return a function that makes a run in which nothing has happened."""
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
    """Return a run that went through the whole loop once."""
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
    """Return a run after stage 1 that the test may do anything with."""
    return taught.copy(tmp_path / 'run')


@pytest.fixture
def send() -> Callable[[psutil.Popen, int], list[psutil.Process]]:
    """Return a function that sends a signal and returns who is alive some seconds later."""

    def send(process: psutil.Popen, number: int, within_s: float) -> list[psutil.Process]:
        process.send_signal(signal.Signals(number))
        return psutil.wait_procs([process, *process.crew], timeout=within_s)[1]

    return send
