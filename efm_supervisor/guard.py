"""
The last hop before the robot: an action passes only when nothing speaks against it.

No ROS, no clock: time comes in as an argument, verdicts come out.
"""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.embodiment import Embodiment
import numpy as np


@dataclass(frozen=True)
class Request:
    """
    One action on its way to the robot.

    :param stamp: the observation that caused it [ns].
    :param deadline: not to be executed after this time [ns]; 0 for none.
    :param values: ``(A,)`` float32, units of the embodiment.
    """

    episode_id: str
    stamp: int
    deadline: int
    embodiment_hash: str
    values: np.ndarray


@dataclass(frozen=True)
class Lease:
    """Leave to move: for one stamp in lockstep, until a time [ns] otherwise."""

    episode_id: str = ''
    stamp: int = 0
    valid_until: int = 0


class Guard:
    """
    Decides which action passes.

    :param lockstep: an action needs leave for its own stamp; else a lease that has not run out.
    """

    def __init__(self, embodiment: Embodiment, lockstep: bool):
        self._embodiment, self._lockstep = embodiment, lockstep
        self._spec = embodiment.action.spec
        self._lifetime_ns = int(embodiment.action_lifetime_s * 1e9)
        self._lease = Lease()
        self._waiting: Request | None = None
        self.emergency = False
        self.refused: dict[str, int] = {}
        self.last_refusal = ''
        self._moving_until = 0

    def on_action(self, request: Request, now: int) -> Request | None:
        """Return the request if it may go to the robot, or None; ``now`` in nanoseconds."""
        reason = self._objection(request, now)
        if reason:
            return self._refuse(reason)
        if not self._lockstep:
            return self._pass_with_lease(request, now)
        self._waiting = request
        return self._match()

    def on_lease(self, lease: Lease) -> Request | None:
        """Take leave to move; return a request that was waiting for it, or None."""
        self._lease = lease
        return self._match() if self._lockstep else None

    def on_emergency(self, stopped: bool) -> None:
        """Take the emergency stop; nothing passes while it is set."""
        self.emergency = stopped
        self.revoke()

    def revoke(self) -> None:
        """Take back leave to move and forget what was waiting."""
        self._lease, self._waiting, self._moving_until = Lease(), None, 0

    def must_stop(self, now: int) -> bool:
        """Return whether the last command has outlived its lease or its lifetime; says so once."""
        if self._lockstep or not self._moving_until or now < self._moving_until:
            return False
        self._moving_until = 0
        return True

    def _objection(self, request: Request, now: int) -> str:
        """Return why this action may never pass, or ''."""
        if self.emergency:
            return 'emergency stop'
        if request.embodiment_hash != self._embodiment.hash:
            return f'embodiment: expected {self._embodiment.hash}, got {request.embodiment_hash}'
        if request.deadline and now > request.deadline:
            return 'stale'
        try:
            self._spec.check(request.values)
        except ValueError as error:
            return str(error)
        outside = (request.values < np.float32(self._embodiment.action.low)) | (
            request.values > np.float32(self._embodiment.action.high)
        )
        return 'out of range' if outside.any() else ''

    def _pass_with_lease(self, request: Request, now: int) -> Request | None:
        if request.episode_id != self._lease.episode_id or now >= self._lease.valid_until:
            return self._refuse('no leave to move')
        self._moving_until = min(self._lease.valid_until, now + self._lifetime_ns)
        return request

    def _match(self) -> Request | None:
        """Return the waiting action if leave was given for the very observation it answers."""
        waiting, lease = self._waiting, self._lease
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
        self._waiting, self._lease = None, Lease()
        return waiting

    def _refuse(self, reason: str) -> None:
        self.last_refusal = reason
        self.refused[reason.split(':')[0]] = self.refused.get(reason.split(':')[0], 0) + 1
