"""Whether commands have ceased while the robot moves: the guard is killed or frozen."""

from __future__ import annotations

from typing import Any

from efm_core.command import Command, TWIST
from efm_core.messages import to_twist
import numpy as np

REPEAT_NS = 10 * 10**9  # a driver that has just found the publisher may have missed the first stop


class CommandWatch:
    """
    Finds velocities that no command follows.

    The guard itself ends each motion after `action_lifetime_s`. A motion that lasts longer has no
    guard any more. Times are those of a steady clock [ns].

    :param limit_ns: longest time from a motion to the next command [ns].
    """

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._stop_at: int | None = None

    def on_command(self, moves: bool, now: int) -> None:
        """Note a command. Its own stops come back on the topic, and end no repetition."""
        if moves:
            self._stop_at = now + self._limit_ns
        elif self._stop_at is not None and now < self._stop_at:
            self._stop_at = None

    def must_stop(self, now: int) -> bool:
        """Return whether the guard failed to end the last motion; true for `REPEAT_NS`."""
        return self._stop_at is not None and 0 <= now - self._stop_at < REPEAT_NS


def moves(message: Any, command: Command) -> bool:
    """Return whether a driver's message of velocities asks for motion."""
    numbers = to_twist(message) if command.type == TWIST else np.array(message.data)
    return bool((numbers != 0).any())
