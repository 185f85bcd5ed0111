"""Matches images to the steps of an episode, in whatever order the messages arrive."""

from __future__ import annotations

from collections import deque
from typing import Any

EARLY_IMAGES = 32  # about one second of a camera at 30 Hz


class ObservationMatcher:
    """
    Matches images to the running episode by their stamps.

    ROS 2 guarantees no order across topics. The first images of an episode may arrive before its
    START, and even before the END of the previous episode. So the newest images are kept until
    START. The first observation of an episode is the oldest of them that is not older than START.
    In real time the image with the stamp of START may be lost.

    :param decision_ns: time between two steps [ns]; 0 if every image is a step. Time since START
        is divided into spans of this length, and the first image of each span is a step. So all
        nodes choose the same images, also after one of them has missed one. An image that comes a
        whole span after the last step, to a tenth of a period, is a step too: the jitter of a
        camera at the rate of the steps must not skip one.
    :param period_ns: control period [ns]; an image may be early by half of it, and no step
        follows sooner than that after the last one.
    :ivar event: START of the running episode; None between episodes.
    :ivar step: number of steps counted so far.
    """

    def __init__(self, decision_ns: int = 0, period_ns: int = 0):
        self._span_ns = decision_ns
        self._tolerance_ns = period_ns // 2
        self._whole_span_ns = decision_ns - period_ns // 10
        self.event: Any = None
        self.step = 0
        self._first_stamp = 0
        self._last_stamp = 0
        self._recent: deque[tuple[int, Any]] = deque(maxlen=EARLY_IMAGES)
        self._waiting: tuple[int, Any] | None = None

    def start(self, event: Any, stamp: int) -> list[tuple[int, Any]]:
        """
        Start the episode of ``event``; its first observation has ``stamp`` [ns].

        :return: stamp [ns] and image of each image of the episode that arrived before its START,
            in order. Call `admit` for each of them.
        """
        self.event = event
        self.step = 0
        self._first_stamp = stamp
        self._last_stamp = stamp - 1
        self._waiting = None
        arrived = [pair for pair in self._recent if pair[0] >= stamp]
        self._recent.clear()
        return arrived

    def end(self) -> None:
        """End the episode; later images belong to no episode or to the next one."""
        self.event = None
        self._waiting = None

    def admit(self, stamp: int, image: Any) -> bool:
        """Return whether an image is the next step; keep it for the next START."""
        newest = self._recent[-1][0] if self._recent else stamp - 1
        if stamp < newest:
            self._recent.clear()  # the clock was reset
        if stamp != newest:
            self._recent.append((stamp, image))
        return self._takes(stamp)

    def keep(self, stamp: int, image: Any) -> None:
        """Keep an observation that cannot be answered yet; it replaces an older one."""
        self._waiting = (stamp, image)

    @property
    def is_waiting(self) -> bool:
        """Whether an observation is kept that could not be answered yet."""
        return self._waiting is not None

    def waiting_for(self, stamp: int) -> tuple[int, Any] | None:
        """Return the kept observation if it has this stamp [ns], else None."""
        if self._waiting and self._waiting[0] == stamp:
            return self.take()
        return None

    def take(self) -> tuple[int, Any] | None:
        """Return the kept observation if it is still the next step, else None."""
        waiting = self._waiting
        self._waiting = None
        return waiting if waiting and self._takes(waiting[0]) else None

    def count(self, stamp: int) -> int:
        """Count the observation with this stamp [ns]; return its step, from 0 on."""
        self._last_stamp = stamp
        self.step += 1
        return self.step - 1

    def _takes(self, stamp: int) -> bool:
        is_running = self.event is not None and stamp >= self._first_stamp
        return is_running and stamp > self._last_stamp and not self._is_between(stamp)

    def _is_between(self, stamp: int) -> bool:
        """Return whether an image of the running episode lies between two steps."""
        if not self._span_ns or self._last_stamp < self._first_stamp:
            return False
        since = stamp - self._last_stamp
        if since >= self._whole_span_ns:
            return False
        is_same_span = self._span_of(stamp) == self._span_of(self._last_stamp)
        return is_same_span or since < self._tolerance_ns

    def _span_of(self, stamp: int) -> int:
        return (stamp - self._first_stamp + self._tolerance_ns) // self._span_ns
