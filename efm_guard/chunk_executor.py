"""The chunk that is being executed: which of its rows is due, none late and none twice."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace

import numpy as np


@dataclass(frozen=True)
class ActionRequest:
    """
    One action on its way to the robot, or a chunk of them.

    :param stamp: the observation that caused it; of a row, the time that it is due [ns].
    :param deadline: not to be executed after this time [ns]; 0 for none. Each further row of a
        chunk has one period more.
    :param values: ``(A,)`` float32, units of the embodiment; of a chunk ``(H, A)``.
    :param period: from one row to the next [ns].
    """

    episode_id: str
    stamp: int
    _: KW_ONLY
    deadline: int
    embodiment_hash: str
    values: np.ndarray
    period: int = 0

    @property
    def is_chunk(self) -> bool:
        """Whether there are rows in it."""
        return self.values.ndim == 2

    def row(self, number: int) -> ActionRequest:
        """Return one row of a chunk as an action of its own."""
        later = number * self.period
        deadline = self.deadline + later if self.deadline else 0
        values = self.values[number]
        return replace(self, stamp=self.stamp + later, deadline=deadline, values=values)


class ChunkExecutor:
    """
    Executes chunks by the clock.

    Row ``h`` has its turn from the observation's stamp + ``h`` periods until the next one's, or
    until its own deadline. A row whose turn has passed is never executed. A newer chunk takes the
    place of the rest of an older one; which of its rows comes next, the clock says.

    :param repeats: a row may be asked for twice in its turn: in lockstep, where time stands still
        until the command has arrived.
    :ivar skipped: rows whose turn passed unused, so far.
    """

    def __init__(self, repeats: bool = False):
        self._repeats = repeats
        self.skipped = 0
        self.drop()

    def drop(self) -> None:
        """Forget all rows, and what came before."""
        self._chunk: ActionRequest | None = None
        self._newest = 0
        self._next = 0

    def objection(self, request: ActionRequest, now: int) -> str:
        """Return why this action or chunk must not follow the one under execution, or ''."""
        if self._newest and request.stamp <= self._newest:
            return 'older observation: a chunk that answers one as new is under execution'
        if not request.is_chunk:
            return ''
        if request.stamp > now + request.period:
            return 'ahead of time: its observation is more than a period in the future'
        end = request.stamp + len(request.values) * request.period
        return 'stale' if now >= end else ''

    def join(self, request: ActionRequest) -> None:
        """Execute this chunk from now on; what is left of an older one is dropped."""
        if not request.is_chunk:
            self.drop()
        else:
            self._chunk = request
            self._newest = request.stamp
            self._next = 0

    def cut(self) -> None:
        """Drop the rest of the chunk; an older one may not come back."""
        self._chunk = None

    def due(self, now: int) -> ActionRequest | None:
        """Return the row whose turn it is, once; None where there is none, or it is too late."""
        chunk = self._chunk
        if chunk is None or now < chunk.stamp:
            return None
        number = (now - chunk.stamp) // chunk.period
        if number >= len(chunk.values):
            self.skipped += len(chunk.values) - self._next
            self.cut()
            return None
        row = chunk.row(number)
        again = self._repeats and number == self._next - 1
        if (number < self._next and not again) or 0 < row.deadline < now:
            return None
        self.skipped += max(0, number - self._next)
        self._next = number + 1
        return row
