"""The chunk under execution: which of its steps is due, none late and none twice."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace

import numpy as np


@dataclass(frozen=True)
class ActionRequest:
    """
    One action on its way to the robot, or a chunk of them.

    :param stamp: of the observation; of a chunk step, the time when it is due [ns].
    :param deadline: the action must not be executed after this time [ns]; 0: no deadline. Each
        further step of a chunk has one period more.
    :param values: ``(A,)`` float32, units of the embodiment; of a chunk ``(H, A)``.
    :param period: from one chunk step to the next [ns]; 0 for a single action.
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
        """Whether this is a chunk of control steps."""
        return self.values.ndim == 2

    def chunk_step(self, number: int) -> ActionRequest:
        """Return one step of a chunk as a single action."""
        later = number * self.period
        deadline = self.deadline + later if self.deadline else 0
        values = self.values[number]
        return replace(self, stamp=self.stamp + later, deadline=deadline, values=values)


class ChunkExecutor:
    """
    Executes chunks by the clock.

    Step ``h`` is due from the observation's stamp + ``h`` periods until the next step is, or until
    its own deadline. A step whose time has passed is never executed. A newer chunk replaces the
    rest of an older one; the clock decides with which of its steps it begins.

    :param repeats: a step may be returned twice in its time: in lockstep, where the time stands
        still until the command has arrived.
    :ivar skipped: number of steps whose time passed unused.
    """

    def __init__(self, repeats: bool = False) -> None:
        self._repeats = repeats
        self.skipped = 0
        self.drop()

    def drop(self) -> None:
        """Forget the chunk and its stamp; any action may follow."""
        self._chunk: ActionRequest | None = None
        self._newest = 0
        self._next = 0

    def objection(self, request: ActionRequest, now: int) -> str:
        """
        Return why this action or chunk must not follow the current one; empty if it may.

        :param now: on the clock of the stamps [ns].
        """
        if self._newest and request.stamp <= self._newest:
            return 'older observation: the action of one as new has passed'
        if not request.is_chunk:
            return ''
        end = request.stamp + len(request.values) * request.period
        if now < end:
            return ''
        return (
            'stale: expected a chunk whose last step is not over, '
            f"got an age of {(now - request.stamp) / 1e9:.3f} s by the guard's clock"
        )

    def join(self, request: ActionRequest) -> None:
        """Execute this action or chunk from now on; the rest of an older chunk is dropped."""
        self._chunk = request if request.is_chunk else None
        self._newest = request.stamp
        self._next = 0

    def cut(self) -> None:
        """Drop the rest of the chunk; an older one must not follow."""
        self._chunk = None

    def due(self, now: int) -> ActionRequest | None:
        """Return the step that is due, once; None if no step is, or its deadline has passed."""
        chunk = self._chunk
        if chunk is None or now < chunk.stamp:
            return None
        number = (now - chunk.stamp) // chunk.period
        if number >= len(chunk.values):
            self.skipped += len(chunk.values) - self._next
            self.cut()
            return None
        step = chunk.chunk_step(number)
        again = self._repeats and number == self._next - 1
        if (number < self._next and not again) or 0 < step.deadline < now:
            return None
        self.skipped += max(0, number - self._next)
        self._next = number + 1
        return step
