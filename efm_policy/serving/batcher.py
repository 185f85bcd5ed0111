"""
Which observations are answered together, and when: no clock, no network, no threads.

Time comes in as an argument [s of a clock that never goes back].
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, KW_ONLY
from typing import Any

PRESENT_S = 1.0  # whoever asked within this time is likely to ask again
REMEMBERED = 16  # batches whose cost is known


@dataclass(frozen=True)
class Waiting:
    """
    One request that waits for its batch.

    :param deadline: an answer after this time [s] is worth nothing.
    """

    robot: str
    item: Any
    _: KW_ONLY
    arrived: float
    deadline: float


class Batcher:
    """
    Collects requests until a batch is due.

    A batch is due when it is full; when every robot that asks these days is in it, for then nobody
    is left to wait for; or when a request in it has waited long enough: for `max_wait_s`, for half
    of what a batch costs, since waiting for company then costs more than it saves, or for half of
    the time that the model leaves it before its deadline.

    :param max_wait_s: longest time that a request waits for others [s].
    """

    def __init__(self, max_batch: int, max_wait_s: float):
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._waiting: dict[str, Waiting] = {}
        self._asked: dict[str, float] = {}
        self._costs: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def cost(self) -> float:
        """What the cheapest of the last batches took [s]; 0 when nothing is known."""
        return min(self._costs, default=0.0)

    def put(self, robot: str, item: Any, now: float, deadline: float) -> Any | None:
        """Add a request; return the robot's former one, which it takes the place of, or None."""
        former = self._waiting.pop(robot, None)
        self._waiting[robot] = Waiting(robot, item, arrived=now, deadline=deadline)
        self._asked[robot] = now
        return former.item if former else None

    def due(self, now: float) -> float | None:
        """Return when the next batch is due [s], which may be past; None when nobody waits."""
        if not self._waiting:
            return None
        self._asked = {r: t for r, t in self._asked.items() if now - t < PRESENT_S}
        if len(self._waiting) >= min(self._max_batch, max(len(self._asked), 1)):
            return now
        return min(self._patience(entry) for entry in self._waiting.values())

    def take(self, now: float) -> tuple[list[Waiting], list[Waiting]]:
        """
        Return the next batch, oldest first, and the requests that are too late for any.

        Too late is what could not be answered before its deadline even at the lowest known cost.
        When all are, the cost is forgotten, so that one slow batch does not silence the server.
        """
        entries = list(self._waiting.values())
        late = [entry for entry in entries if now + self.cost >= entry.deadline]
        batch = [entry for entry in entries if entry not in late][: self._max_batch]
        if late and not batch:
            self._costs.clear()
        for entry in (*batch, *late):
            del self._waiting[entry.robot]
        return batch, late

    def clear(self) -> list[Waiting]:
        """Return everything that waits, and forget it."""
        entries, self._waiting = list(self._waiting.values()), {}
        return entries

    def ran(self, seconds: float) -> None:
        """Note what a batch took [s]."""
        self._costs.append(seconds)

    def _patience(self, entry: Waiting) -> float:
        left = max(entry.deadline - self.cost - entry.arrived, 0.0)
        return entry.arrived + min(self._max_wait_s, self.cost / 2, left / 2)
