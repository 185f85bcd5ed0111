"""Notes of a running cell for the progress display, also from a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Sink = Callable[[str], None]
_sinks: list[Sink] = []  # the last one receives the notes


def report(note: str) -> None:
    """Show what the running cell does now; without a display it has no effect."""
    if _sinks:
        _sinks[-1](note)


@contextmanager
def reporting_to(sink: Sink) -> Iterator[None]:
    """Send the notes of the body to ``sink``."""
    _sinks.append(sink)
    try:
        yield
    finally:
        _sinks.pop()
