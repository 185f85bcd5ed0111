"""
Micro-batching: which requests form the next batch, and when it starts.

There is no clock, no network and no thread in this module. Times are arguments, in seconds of a
clock that never goes back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, KW_ONLY
from typing import Generic, TypeVar

Item = TypeVar('Item')
ACTIVE_S = 1.0  # a robot that sent a request within this time is expected to send another
HISTORY = 16  # batches whose duration is stored


@dataclass(frozen=True)
class QueuedRequest(Generic[Item]):
    """
    One request that waits for its batch.

    :param robot: name of the robot.
    :param item: the content of the request.
    :param arrived: time of arrival [s].
    :param deadline: time after which the answer has no use [s].
    """

    robot: str
    item: Item
    _: KW_ONLY
    arrived: float
    deadline: float


class Batcher(Generic[Item]):
    """
    Collects requests until a batch is due.

    A batch is due when one of these is true:

    - it is full;
    - it contains a request of every active robot;
    - one of its requests has waited for ``max_wait_s``, for half the duration of a batch, or for
      half the time that is left before its deadline after the model has run.
    """

    def __init__(self, max_batch: int, max_wait_s: float):
        """
        Create an empty queue.

        :param max_batch: largest number of requests in a batch.
        :param max_wait_s: longest time that a request waits for others [s].
        """
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._waiting: dict[str, QueuedRequest[Item]] = {}
        self._last_request: dict[str, float] = {}
        self._durations: deque[float] = deque(maxlen=HISTORY)

    @property
    def batch_duration(self) -> float:
        """Duration of the fastest of the last 16 batches [s]; 0 before the first."""
        return min(self._durations, default=0.0)

    def add(self, robot: str, item: Item, now: float, deadline: float) -> Item | None:
        """
        Queue a request; return the item of the robot's earlier request that it replaces, or None.

        :param now: present time [s].
        :param deadline: time after which the answer has no use [s].
        """
        replaced = self._waiting.pop(robot, None)
        self._waiting[robot] = QueuedRequest(robot, item, arrived=now, deadline=deadline)
        self._last_request[robot] = now
        return replaced.item if replaced else None

    def due(self, now: float) -> float | None:
        """Return the time at which the next batch is due [s]; None when the queue is empty."""
        if not self._waiting:
            return None
        self._last_request = {r: t for r, t in self._last_request.items() if now - t < ACTIVE_S}
        if len(self._waiting) >= min(self._max_batch, max(len(self._last_request), 1)):
            return now
        return min(self._due_time(request) for request in self._waiting.values())

    def take(self, now: float) -> tuple[list[QueuedRequest[Item]], list[QueuedRequest[Item]]]:
        """
        Remove the next batch and the late requests from the queue, and return both, oldest first.

        A request is late when even the fastest of the last batches would miss its deadline. When
        all requests are late, the durations are cleared, so that one slow batch does not block
        the server for ever.
        """
        requests = list(self._waiting.values())
        late = [r for r in requests if now + self.batch_duration >= r.deadline]
        batch = [r for r in requests if r not in late][: self._max_batch]
        if late and not batch:
            self._durations.clear()
        for request in (*batch, *late):
            del self._waiting[request.robot]
        return batch, late

    def clear(self) -> list[QueuedRequest[Item]]:
        """Remove all requests from the queue and return them."""
        requests = list(self._waiting.values())
        self._waiting = {}
        return requests

    def record_batch(self, seconds: float) -> None:
        """Store the duration of a batch [s]."""
        self._durations.append(seconds)

    def _due_time(self, request: QueuedRequest[Item]) -> float:
        """Return the time at which a request must not wait any longer [s]."""
        left = max(request.deadline - self.batch_duration - request.arrived, 0.0)
        return request.arrived + min(self._max_wait_s, self.batch_duration / 2, left / 2)
