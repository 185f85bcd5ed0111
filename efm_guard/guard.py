"""
The last hop before the robot: an action passes only when nothing speaks against it.

No ROS, no clock: time comes in as an argument, verdicts come out. A chunk is accepted or refused
as a whole when it comes; then its rows pass one by one, each when it is due.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace

from efm_core.embodiment import Embodiment
from efm_guard.chunk_executor import ActionRequest, ChunkExecutor
import numpy as np

__all__ = ['ActionRequest', 'Guard', 'Lease']


@dataclass(frozen=True)
class Lease:
    """Leave to move: for one stamp in lockstep, until a time [ns] otherwise."""

    episode_id: str = ''
    stamp: int = 0
    _: KW_ONLY
    valid_until: int = 0


class Guard:
    """
    Decides which action passes.

    :param lockstep: an action needs leave for its own stamp; else a lease that has not run out.
    """

    def __init__(self, embodiment: Embodiment, lockstep: bool):
        self._embodiment = embodiment
        self._lockstep = lockstep
        spec = embodiment.action.spec
        self._spec = {1: spec, 2: replace(spec, shape=(embodiment.action.chunk, *spec.shape))}
        self._rows = ChunkExecutor(repeats=lockstep)
        self._lifetime_ns = int(embodiment.action_lifetime_s * 1e9)
        self._lease = Lease()
        self._waiting: ActionRequest | None = None
        self.emergency = False
        self.refused: dict[str, int] = {}
        self.last_refusal = ''
        self._moving_until = 0

    def on_action(self, request: ActionRequest, now: int) -> ActionRequest | None:
        """
        Return the request, or the row of it that is due, if it may go to the robot, or None.

        :param now: [ns].
        """
        reason = self._objection(request, now)
        if reason:
            return self._refuse(reason)
        if not self._lockstep:
            return self._accept(request, now)
        self._waiting = request
        return self._match()

    def on_lease(self, lease: Lease) -> ActionRequest | None:
        """Take leave to move; return a request that was waiting for it, or its row, or None."""
        self._lease = lease
        return self._match() if self._lockstep else None

    def on_time(self, now: int) -> ActionRequest | None:
        """
        Return the row of the chunk under execution whose turn has come, once, or None.

        :param now: in lockstep the world's newest stamp [ns].
        """
        row = self._rows.due(now)
        if row is None or self._lockstep:
            return row
        if self._has_leave(row, now):
            return self._release(row, now)
        self.cut()
        return self._refuse('no leave to move')

    @property
    def skipped(self) -> int:
        """The number of rows so far whose turn passed unused."""
        return self._rows.skipped

    def cut(self) -> None:
        """Drop the rest of the chunk under execution: one of its rows could not be executed."""
        self._rows.cut()

    def on_emergency(self, stopped: bool) -> None:
        """Take the emergency stop; nothing passes while it is set."""
        self.emergency = stopped
        self.revoke()

    def revoke(self) -> None:
        """Take back leave to move and forget what was waiting."""
        self._lease = Lease()
        self._waiting = None
        self._moving_until = 0
        self._rows.drop()

    def must_stop(self, now: int) -> bool:
        """Return whether the last command has outlived its lease or its lifetime; says so once."""
        if self._lockstep or not self._moving_until or now < self._moving_until:
            return False
        self._moving_until = 0
        return True

    def _objection(self, request: ActionRequest, now: int) -> str:
        """Return why this action may never pass, or ''."""
        if self.emergency:
            return 'emergency stop'
        if request.embodiment_hash != self._embodiment.hash:
            return f'embodiment: expected {self._embodiment.hash}, got {request.embodiment_hash}'
        last = request.row(len(request.values) - 1) if request.is_chunk else request
        if last.deadline and now > last.deadline:
            return 'stale'
        try:
            self._check_shape(request)
        except ValueError as error:
            return str(error)
        outside = (request.values < np.float32(self._embodiment.action.low)) | (
            request.values > np.float32(self._embodiment.action.high)
        )
        if outside.any():
            return 'out of range'
        return '' if self._lockstep else self._rows.objection(request, now)

    def _check_shape(self, request: ActionRequest) -> None:
        """
        Refuse values of another shape, not finite, or of another pace.

        :raises ValueError: saying what was expected.
        """
        robot = self._embodiment
        if request.is_chunk and request.period != robot.period_ns:
            raise ValueError(f'period: expected {robot.period_ns} ns a row, got {request.period}')
        self._spec[2 if request.is_chunk else 1].check(request.values)

    def _accept(self, request: ActionRequest, now: int) -> ActionRequest | None:
        if not self._has_leave(request, now):
            return self._refuse('no leave to move')
        self._rows.join(request)
        return self.on_time(now) if request.is_chunk else self._release(request, now)

    def _has_leave(self, request: ActionRequest, now: int) -> bool:
        lease = self._lease
        return request.episode_id == lease.episode_id and now < lease.valid_until

    def _release(self, request: ActionRequest, now: int) -> ActionRequest:
        """Let an action, or a row, go to the robot, which must not move on for long without."""
        self._moving_until = min(self._lease.valid_until, now + self._lifetime_ns)
        return request

    def _match(self) -> ActionRequest | None:
        """Return the waiting action if leave was given for the very observation it answers."""
        waiting = self._waiting
        lease = self._lease
        if (
            waiting is None
            or not lease.episode_id
            or (waiting.episode_id, waiting.stamp)
            != (
                lease.episode_id,
                lease.stamp,
            )
        ):
            return None
        self._waiting = None
        self._lease = Lease()
        self._rows.join(waiting)
        return self._rows.due(waiting.stamp) if waiting.is_chunk else waiting

    def _refuse(self, reason: str) -> None:
        self.last_refusal = reason
        self.refused[reason.split(':')[0]] = self.refused.get(reason.split(':')[0], 0) + 1
