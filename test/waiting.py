"""
Every wait and every time limit of the tests.

A time limit counts seconds of a machine that does nothing else. While more processes want to run
than there are cores, its clock runs slower: with six of them on two cores, a limit of 20 s lasts
60 s. So a busy machine fails no test by the clock, and a quiet one waits no longer for a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
import math
import os
from pathlib import Path
import queue
import subprocess
import time
from typing import Any

import psutil

CORES = len(os.sched_getaffinity(0))
LOAD = Path('/proc/loadavg')
POLL_S = 0.05


def slowdown() -> float:
    """Return how many processes share one core now or did in the last minute; at least 1."""
    average, *_, running, _ = LOAD.read_text().split()
    return max(1.0, float(average) / CORES, int(running.split('/')[0]) / CORES)


def scaled(seconds: float, most: float = math.inf) -> float:
    """
    Return a time limit of the product, such as a parameter, for the load of this moment.

    :param most: largest value that the product accepts [s].
    """
    return min(seconds * slowdown(), most)


class Deadline:
    """A time limit, in seconds of a machine that does nothing else."""

    def __init__(self, seconds: float):
        self._left = seconds
        self._last = time.monotonic()

    def has_passed(self) -> bool:
        """Return whether the time is up; call it often, because each call looks at the load."""
        now = time.monotonic()
        self._left -= (now - self._last) / slowdown()
        self._last = now
        return self._left < 0


def wait_for(fact: Callable[[], Any], what: str, seconds: float = 90.0) -> None:
    """Poll until ``fact()`` holds; fail when the time is up."""
    deadline = Deadline(seconds)
    while not fact():
        assert not deadline.has_passed(), f'waited {seconds} s in vain for {what}'
        time.sleep(POLL_S)


def wait_for_exit(process: subprocess.Popen | psutil.Popen, seconds: float = 60.0) -> int:
    """Return the exit code of a process; fail when the time is up."""
    deadline = Deadline(seconds)
    while True:
        try:
            return process.wait(timeout=POLL_S)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            assert not deadline.has_passed(), f'process {process.pid}: no end within {seconds} s'


def alive_after(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the processes that still run when the time is up; at once if none does."""
    deadline = Deadline(seconds)
    alive = list(processes)
    while alive and not deadline.has_passed():
        _, alive = psutil.wait_procs(alive, timeout=POLL_S)
    return alive


def run_to_end(
    command: list[str], seconds: float = 60.0, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command; return its exit code and output. Kill it and fail when the time is up."""
    deadline = Deadline(seconds)
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    with subprocess.Popen(command, **{**pipes, **options}) as process:
        while True:
            try:
                out, err = process.communicate(timeout=POLL_S)
                return subprocess.CompletedProcess(command, process.returncode, out, err)
            except subprocess.TimeoutExpired:
                if deadline.has_passed():
                    process.kill()
                    out, err = process.communicate()
                    raise AssertionError(
                        f'{command}: no end within {seconds} s; {out}{err}'
                    ) from None


def take(waiting: queue.Queue, what: str, seconds: float = 20.0) -> Any:
    """Return the next item of a queue that another thread fills; fail when the time is up."""
    deadline = Deadline(seconds)
    while True:
        try:
            return waiting.get(timeout=POLL_S)
        except queue.Empty:
            assert not deadline.has_passed(), f'waited {seconds} s in vain for {what}'
