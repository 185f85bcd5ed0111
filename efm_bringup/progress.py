"""Shows how far long work is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
import json
from pathlib import Path
import threading
import time

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
    Shows one piece of work: title, count, a note, the time that is left.

    :param total: how much there is to do.
    :param unit: of the count, for people.
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
        self._began: float | None = None  # when the first update came, which said ``_first``
        self._first = 0
        self._said = time.monotonic()
        self._line = ''
        self._completed = 0
        self._note = 'starting'

    def __enter__(self) -> Display:
        """Begin to show."""
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Show the end and stop."""
        self._progress.stop()
        if not self._console.is_terminal:
            self._say('')

    def update(self, completed: int, note: str) -> None:
        """Show that ``completed`` of the total are done."""
        if completed and self._began is None:
            self._began = time.monotonic()
            self._first = completed
        self._completed = completed
        self._note = note
        self._progress.update(self._task, completed=completed, note=note)
        if not self._console.is_terminal and time.monotonic() - self._said > PLAIN_PERIOD_S:
            self._say(self._left())

    def _say(self, left: str) -> None:
        line = (
            f'{self._title}: {self._completed} of {self._total} {self._unit}, {self._note}{left}'
        )
        self._said = time.monotonic()
        if line != self._line:
            self._console.print(line, soft_wrap=True)
        self._line = line

    def _left(self) -> str:
        if self._completed == self._first or self._completed >= self._total:
            return ''
        seconds = (time.monotonic() - self._began) / (self._completed - self._first)
        return f', {timedelta(seconds=round(seconds * (self._total - self._completed)))} left'


class Results:
    """
    Reads a results file as it grows.

    :param is_new: leave out what stands in the file already.
    :ivar counted: episodes that count towards the number asked for.
    """

    def __init__(self, path: Path, only_successes: bool, *, is_new: bool = True):
        self._path = path
        self._only_successes = only_successes
        self._offset = path.stat().st_size if is_new and path.is_file() else 0
        self.episodes = self.successes = self.faults = self.counted = 0
        self.version = 0

    def read(self) -> None:
        """Take in the lines that are new."""
        if not self._path.is_file():
            return
        with open(self._path) as file:
            file.seek(self._offset)
            for line in iter(file.readline, ''):
                if not line.endswith('\n'):
                    break
                self._offset = file.tell()
                self._count(json.loads(line))

    def _count(self, line: dict) -> None:
        if line['termination'] == 'fault':
            self.faults += 1
            return
        success = line['outcome'] == 'success'
        self.episodes += 1
        self.successes += success
        self.counted += success or not self._only_successes
        self.version = max(self.version, line['policy_version'])

    @property
    def note(self) -> str:
        """How often the robots saw a success, and whether anything broke, in a few words."""
        if not self.episodes:
            return f'{self.faults} broke' if self.faults else 'starting'
        share = f'{100 * self.successes / self.episodes:.0f} % said success'
        version = f', policy {self.version}' if self.version else ''
        return share + version + (f', {self.faults} broke' if self.faults else '')


@contextmanager
def watching(
    title: str, path: Path, total: int, only_successes: bool, console: Console
) -> Iterator[Results]:
    """Show progress towards ``total`` episodes while the body runs."""
    results = Results(path, only_successes)
    over = threading.Event()
    with Display(title, total, unit='episodes', console=console) as display:

        def watch() -> None:
            while not over.wait(PERIOD_S):
                results.read()
                display.update(results.counted, results.note)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield results
        finally:
            over.set()
            thread.join()
            results.read()
            display.update(results.counted, results.note)
