"""Notes of a running cell for the progress display, also from a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Sink = Callable[[str], None]


def ignore(note: str) -> None:
    """Do nothing with a note."""


_sink: Sink = ignore


def report(note: str) -> None:
    """Show what the running cell does now; without a display it has no effect."""
    _sink(note)


def report_to(sink: Sink) -> Sink:
    """Send all later notes of this process to ``sink``; return the former receiver."""
    global _sink
    former, _sink = _sink, sink
    return former


@contextmanager
def reporting_to(sink: Sink) -> Iterator[None]:
    """Send the notes of the body to ``sink``."""
    former = report_to(sink)
    try:
        yield
    finally:
        report_to(former)


@contextmanager
def naming(cell: str) -> Iterator[None]:
    """Put the name of a cell before each note of the body."""
    sink = _sink
    with reporting_to(lambda note: sink(f'{cell}: {note}')):
        yield
