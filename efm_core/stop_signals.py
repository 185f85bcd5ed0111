"""The signals that ask a process to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], object]


def on_stop(handler: Handler) -> dict[int, Any]:
    """
    Call ``handler`` with number and frame at Ctrl-C, at SIGTERM and when the terminal is closed.

    A process that ignores SIGHUP, as under ``nohup``, goes on to ignore it. Only the main thread
    may call this function.

    :return: the handlers before, for ``restore``.
    """
    before: dict[int, Any] = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or before[number] != signal.SIG_IGN:
            signal.signal(number, handler)
    return before


def restore(handlers: dict[int, Any]) -> None:
    """Install the handlers that ``on_stop`` returned."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def hangup_as_termination() -> Iterator[None]:
    """
    Treat a closed terminal as SIGTERM in the body; restore all handlers of stop signals after it.

    For a body that installs handlers of its own for SIGINT and SIGTERM.
    """
    before: dict[int, Any] = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if before[signal.SIGHUP] != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        restore(before)
