"""Shows how far a run of the graph is, from the lines that the fleet writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


def bar(console: Console) -> Progress:
    """Return a progress bar with count, note, elapsed and remaining time."""
    return Progress(
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


class Results:
    """
    Reads a results file as it grows.

    :ivar counted: episodes that count towards the number asked for.
    """

    def __init__(self, path: Path, only_successes: bool):
        self._path, self._only_successes = path, only_successes
        self._offset = path.stat().st_size if path.is_file() else 0
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
        share = f'{100 * self.successes / self.episodes:.0f} %' if self.episodes else '-'
        version = f', policy {self.version}' if self.version else ''
        return f'{share} said success{version}' + (f', {self.faults} broke' if self.faults else '')


@contextmanager
def watching(
    title: str, path: Path, total: int, only_successes: bool, console: Console
) -> Iterator[Results]:
    """Show progress towards ``total`` episodes while the body runs."""
    results, over = Results(path, only_successes), threading.Event()
    with bar(console) as progress:
        task = progress.add_task(title, total=total, note='starting')

        def watch() -> None:
            said = time.monotonic()
            while not over.wait(PERIOD_S):
                results.read()
                if results.episodes:
                    progress.update(task, completed=results.counted, note=results.note)
                if not console.is_terminal and time.monotonic() - said > PLAIN_PERIOD_S:
                    said = time.monotonic()
                    console.print(
                        f'{title}: {results.counted} of {total} episodes, {results.note}'
                    )

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield results
        finally:
            over.set()
            thread.join()
            results.read()
            progress.update(task, completed=results.counted, note=results.note)
    if not console.is_terminal:
        console.print(f'{title}: {results.counted} of {total} episodes, {results.note}')
