"""Which picture is which step of which episode, whatever order the messages come in."""

from __future__ import annotations

from typing import Any


class ObservationMatcher:
    """
    Matches pictures to the running episode by their stamps.

    Topics keep no order among each other: the first picture of an episode may come before the
    event that starts it. The newest picture is kept, so that neither is lost.

    :param decision_ns: time between two observations that are steps [ns]; 0 where every picture is
        one. The first picture of each such span is a step, to half a ``period_ns``; the spans are
        counted from the first observation on, so that all nodes choose the same pictures again
        after one of them has missed one.
    """

    def __init__(self, decision_ns: int = 0, period_ns: int = 0):
        self._span = decision_ns
        self._early = period_ns // 2
        self.event: Any = None
        self.step = 0
        self._first_stamp = self._last_stamp = 0
        self._waiting: tuple[int, Any] | None = None

    def start(self, event: Any, stamp: int) -> tuple[int, Any] | None:
        """
        Begin the episode that ``event`` announces; its first observation has ``stamp`` [ns].

        :return: stamp [ns] and picture of an observation that was waiting for this, or None.
        """
        self.event = event
        self.step = 0
        self._first_stamp = stamp
        self._last_stamp = stamp - 1
        return self.take()

    def end(self) -> None:
        """End the episode; what comes now belongs to none."""
        self.event = None

    def admit(self, stamp: int, picture: Any) -> bool:
        """Return whether this is the episode's next observation; keep one that comes early."""
        if self._takes(stamp):
            return True
        if stamp > self._last_stamp and not self._is_between(stamp):
            self.keep(stamp, picture)
        return False

    def keep(self, stamp: int, picture: Any) -> None:
        """Keep a picture that cannot be used yet; it takes the place of an older one."""
        self._waiting = (stamp, picture)

    def waiting_for(self, stamp: int) -> tuple[int, Any] | None:
        """Return an observation that was kept for want of something else with its stamp [ns]."""
        if self._waiting and self._waiting[0] == stamp and self._takes(stamp):
            waiting, self._waiting = self._waiting, None
            return waiting
        return None

    def take(self) -> tuple[int, Any] | None:
        """Return the observation that was kept, if it is still to be answered."""
        waiting, self._waiting = self._waiting, None
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
        if not self._span or self.event is None or self._last_stamp < self._first_stamp:
            return False
        return self._number(stamp) == self._number(self._last_stamp)

    def _number(self, stamp: int) -> int:
        return (stamp - self._first_stamp + self._early) // self._span
