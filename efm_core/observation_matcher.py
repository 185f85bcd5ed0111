"""Which picture is which step of which episode, in whatever order the messages arrive."""

from __future__ import annotations

from collections import deque
from typing import Any

EARLY_PICTURES = 32  # about one second of a camera at 30 Hz


class ObservationMatcher:
    """
    Matches pictures to the running episode by their stamps.

    Topics keep no order among each other: the first pictures of an episode may arrive before its
    START, and even before the END of the episode before. The newest pictures are kept, so that
    START can ask for them. The first observation of an episode is the oldest of them whose stamp
    is not before that of START. In real time the picture of START itself may have been lost.

    :param decision_ns: time between two observations that are steps [ns]; 0 where every picture is
        one. The first picture of each such span is a step, to half a ``period_ns``; the spans are
        counted from the stamp of START, so that all nodes choose the same pictures again after one
        of them has missed one.
    """

    def __init__(self, decision_ns: int = 0, period_ns: int = 0):
        self._span = decision_ns
        self._early = period_ns // 2
        self.event: Any = None
        self.step = 0
        self._first_stamp = self._last_stamp = 0
        self._recent: deque[tuple[int, Any]] = deque(maxlen=EARLY_PICTURES)
        self._waiting: tuple[int, Any] | None = None

    def start(self, event: Any, stamp: int) -> list[tuple[int, Any]]:
        """
        Begin the episode that ``event`` announces; its first observation has ``stamp`` [ns].

        :return: stamp [ns] and picture of the episode's pictures that arrived before its START, in
            order. `admit` each of them as if it arrived now.
        """
        self.event = event
        self.step = 0
        self._first_stamp = stamp
        self._last_stamp = stamp - 1
        self._waiting = None
        arrived = [picture for picture in self._recent if picture[0] >= stamp]
        self._recent.clear()
        return arrived

    def end(self) -> None:
        """End the episode; pictures that arrive now belong to none, or to the next one."""
        self.event = None
        self._waiting = None

    def admit(self, stamp: int, picture: Any) -> bool:
        """Return whether this is the next observation; remember it for the next START."""
        newest = self._recent[-1][0] if self._recent else stamp - 1
        if stamp < newest:
            self._recent.clear()  # the clock began again
        if stamp != newest:
            self._recent.append((stamp, picture))
        return self._takes(stamp)

    def keep(self, stamp: int, picture: Any) -> None:
        """Keep an observation that cannot be answered yet; it replaces an older one."""
        self._waiting = (stamp, picture)

    def waiting_for(self, stamp: int) -> tuple[int, Any] | None:
        """Return an observation that was kept for want of something else with its stamp [ns]."""
        if self._waiting and self._waiting[0] == stamp:
            return self.take()
        return None

    def take(self) -> tuple[int, Any] | None:
        """Return the observation that was kept, if it is still to be answered."""
        waiting = self._waiting
        self._waiting = None
        return waiting if waiting and self._takes(waiting[0]) else None

    def count(self, stamp: int) -> int:
        """Return the step that the observation ``stamp`` [ns] is, and go on to the next."""
        self._last_stamp = stamp
        self.step += 1
        return self.step - 1

    def _takes(self, stamp: int) -> bool:
        running = self.event is not None and stamp >= self._first_stamp
        return running and stamp > self._last_stamp and not self._is_between(stamp)

    def _is_between(self, stamp: int) -> bool:
        """Return whether a picture of the running episode lies between two steps."""
        if not self._span or self._last_stamp < self._first_stamp:
            return False
        return self._number(stamp) == self._number(self._last_stamp)

    def _number(self, stamp: int) -> int:
        return (stamp - self._first_stamp + self._early) // self._span
