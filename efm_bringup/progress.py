"""Progress of long work: a bar on a terminal; elsewhere a line from time to time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
import json
from pathlib import Path
import threading
import time
from typing import Any

from efm_core.episode import Termination
from efm_core.episode_rules import is_void
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PERIOD_S = 0.3
PLAIN_PERIOD_S = 10.0


class Display:
    """
    Shows the progress of one task: title, count, a note, the remaining time.

    :param total: the count at which the task is done.
    :param unit: of the count.
    """

    def __init__(self, title: str, total: int, *, unit: str, console: Console):
        self._title = title
        self._total = total
        self._unit = unit
        self._console = console
        self._progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[note]}'),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, note='')
        self._began: float | None = None  # time of the first update with a count [s]
        self._first = 0  # its count
        self._printed = time.monotonic()  # time of the last line [s]
        self._line = ''
        self._completed = 0
        self._note = 'starting'

    def __enter__(self) -> Display:
        """Start the display."""
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Show the final state and stop."""
        self._progress.stop()
        if not self._console.is_terminal:
            self._print('')

    def update(self, completed: int, note: str) -> None:
        """Show the count ``completed`` and a note."""
        if completed and self._began is None:
            self._began = time.monotonic()
            self._first = completed
        self._completed = completed
        self._note = note
        self._progress.update(self._task, completed=completed, note=note)
        if not self._console.is_terminal and time.monotonic() - self._printed > PLAIN_PERIOD_S:
            self._print(self._remaining())

    def note(self, note: str) -> None:
        """Show another note at the present count."""
        self.update(self._completed, note)

    def _print(self, remaining: str) -> None:
        count = f'{self._completed} of {self._total} {self._unit}'
        line = f'{self._title}: {count}, {self._note}{remaining}'
        self._printed = time.monotonic()
        if line != self._line:
            self._console.print(line, soft_wrap=True)
        self._line = line

    def _remaining(self) -> str:
        is_known = self._first < self._completed < self._total
        if self._began is None or not is_known:
            return ''
        seconds = (time.monotonic() - self._began) / (self._completed - self._first)
        return f', {timedelta(seconds=round(seconds * (self._total - self._completed)))} left'


class ResultsTail:
    """
    Reads a results file while the fleet writes it.

    :param is_new: whether to skip the lines that the file already has.
    :ivar episodes: episodes that count; of the void ones, ``faults`` counts those with a fault.
    :ivar counted: episodes that count towards the requested number.
    :ivar reached: episodes that reached their goal by simulator truth, of the ``known`` ones.
    :ivar version: newest policy version of an episode.
    """

    def __init__(self, path: Path, only_successes: bool, *, is_new: bool = True):
        self._path = path
        self._only_successes = only_successes
        self._offset = path.stat().st_size if is_new and path.is_file() else 0
        self.episodes = self.successes = self.faults = self.counted = 0
        self.reached = self.known = 0
        self.version = 0

    def read(self) -> None:
        """Read the new lines."""
        if not self._path.is_file():
            return
        with open(self._path) as file:
            file.seek(self._offset)
            for line in iter(file.readline, ''):
                if not line.endswith('\n'):
                    break
                self._offset = file.tell()
                self._count(json.loads(line))

    def _count(self, line: dict[str, Any]) -> None:
        if is_void(line['outcome'], line['termination']):
            self.faults += line['termination'] == Termination.FAULT.value
            return
        success = line['outcome'] == 'success'
        self.episodes += 1
        self.successes += success
        truth = line.get('reached')
        self.known += truth is not None
        self.reached += truth is True
        self.counted += success or not self._only_successes
        self.version = max(self.version, line['policy_version'])

    @property
    def note(self) -> str:
        """
        Shares of labelled successes and of reached episodes, policy version, number of faults.

        The label is the detector's or the demonstrator's; reached is simulator truth, left out
        where it is unknown.
        """
        faults = f'faults: {self.faults}' if self.faults else ''
        if not self.episodes:
            return faults or 'starting'
        label = f'labelled success {_percent(self.successes, self.episodes)}'
        truth = f'reached {_percent(self.reached, self.known)}' if self.known else ''
        version = f'policy {self.version}' if self.version else ''
        return ', '.join(part for part in (label, truth, version, faults) if part)


def _percent(count: int, total: int) -> str:
    return f'{100 * count / total:.0f} %'


@contextmanager
def watching(
    title: str,
    path: Path,
    total: int,
    only_successes: bool,
    console: Console,
    alarm: Path | None = None,
) -> Iterator[ResultsTail]:
    """
    Show progress towards ``total`` episodes while the body runs.

    :param path: of the results.
    :param alarm: file that exists while the trainer has an alarm; None: there is no trainer.
    """
    results = ResultsTail(path, only_successes)
    over = threading.Event()
    with Display(title, total, unit='episodes', console=console) as display:

        def show() -> None:
            results.read()
            has_alarm = alarm is not None and alarm.is_file()
            display.update(results.counted, results.note + (', ALARM' if has_alarm else ''))

        def watch() -> None:
            while not over.wait(PERIOD_S):
                show()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield results
        finally:
            over.set()
            thread.join()
            show()
