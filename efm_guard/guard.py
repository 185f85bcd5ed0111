"""
The last check before the robot: which actions pass, and when the robot must stop.

Pure logic without ROS and without a clock: the time is an argument. A chunk is accepted or
rejected as a whole when it arrives; then each of its steps passes when it is due.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace

from efm_core.embodiment import Embodiment
from efm_guard.chunk_executor import ActionRequest, ChunkExecutor
import numpy as np

__all__ = ['ActionRequest', 'Guard', 'MotionPermit']


@dataclass(frozen=True)
class MotionPermit:
    """
    The supervisor's permit to move.

    :param stamp: of the observation whose action may pass, in lockstep [ns].
    :param valid_until: in real time, every action of the episode passes before this time [ns].
    """

    episode_id: str = ''
    stamp: int = 0
    _: KW_ONLY
    valid_until: int = 0


class Guard:
    """
    Decides which action passes.

    :param lockstep: an action needs a permit for its own stamp; otherwise any valid permit.
    :ivar emergency: the emergency stop is set; nothing passes.
    :ivar refused: reason to number of rejected actions.
    :ivar last_refusal: the newest reason, in full.
    """

    def __init__(self, embodiment: Embodiment, lockstep: bool) -> None:
        self._embodiment = embodiment
        self._lockstep = lockstep
        spec = embodiment.action.spec
        self._spec = {1: spec, 2: replace(spec, shape=(embodiment.action.chunk, *spec.shape))}
        self._chunks = ChunkExecutor(repeats=lockstep)
        self._lifetime_ns = int(embodiment.action_lifetime_s * 1e9)
        self._permit = MotionPermit()
        self._waiting: ActionRequest | None = None
        self.emergency = False
        self.refused: dict[str, int] = {}
        self.last_refusal = ''
        self._moving_until = 0

    def on_action(self, request: ActionRequest, now: int) -> ActionRequest | None:
        """
        Return the action, or the chunk step that is due, if it may go to the robot; else None.

        :param now: [ns].
        """
        reason = self._objection(request, now)
        if reason:
            self._refuse(reason)
            return None
        if not self._lockstep:
            return self._accept(request, now)
        self._waiting = request
        return self._match()

    def on_permit(self, permit: MotionPermit) -> ActionRequest | None:
        """Take a permit; return the action that waited for it, or its first step, or None."""
        self._permit = permit
        return self._match() if self._lockstep else None

    def on_time(self, now: int) -> ActionRequest | None:
        """
        Return the step of the current chunk that is due, once; else None.

        :param now: in lockstep the world's newest stamp [ns].
        """
        step = self._chunks.due(now)
        if step is None or self._lockstep:
            return step
        if self._is_permitted(step, now):
            return self._release(step, now)
        self.cut()
        self._refuse('no permit')
        return None

    @property
    def skipped(self) -> int:
        """The number of chunk steps whose time passed unused."""
        return self._chunks.skipped

    def cut(self) -> None:
        """Drop the rest of the current chunk: one of its steps could not be executed."""
        self._chunks.cut()

    def on_emergency(self, stopped: bool) -> None:
        """Set or reset the emergency stop; nothing passes while it is set."""
        self.emergency = stopped
        self.revoke()

    def revoke(self) -> None:
        """Revoke the permit, and forget the waiting action and the chunk."""
        self._permit = MotionPermit()
        self._waiting = None
        self._moving_until = 0
        self._chunks.drop()

    def must_stop(self, now: int) -> bool:
        """Return whether the last command has outlived its permit or its lifetime; once."""
        if self._lockstep or not self._moving_until or now < self._moving_until:
            return False
        self._moving_until = 0
        return True

    def _objection(self, request: ActionRequest, now: int) -> str:
        """Return why this action must never pass; empty if it may."""
        if self.emergency:
            return 'emergency stop'
        if request.embodiment_hash != self._embodiment.hash:
            return f'embodiment: expected {self._embodiment.hash}, got {request.embodiment_hash}'
        last = request.chunk_step(len(request.values) - 1) if request.is_chunk else request
        if last.deadline and now > last.deadline:
            return 'stale'
        try:
            self._check_shape(request)
        except ValueError as error:
            return str(error)
        low = np.array(self._embodiment.action.low, np.float32)
        high = np.array(self._embodiment.action.high, np.float32)
        if (request.values < low).any() or (request.values > high).any():
            return 'out of range'
        return '' if self._lockstep else self._chunks.objection(request, now)

    def _check_shape(self, request: ActionRequest) -> None:
        """
        Refuse values of another shape or period, or not finite.

        :raises ValueError: with the expected and the found value.
        """
        period = self._embodiment.period_ns
        if request.is_chunk and request.period != period:
            raise ValueError(f'period: expected {period} ns a chunk step, got {request.period}')
        self._spec[2 if request.is_chunk else 1].check(request.values)

    def _accept(self, request: ActionRequest, now: int) -> ActionRequest | None:
        if not self._is_permitted(request, now):
            self._refuse('no permit')
            return None
        self._chunks.join(request)
        return self.on_time(now) if request.is_chunk else self._release(request, now)

    def _is_permitted(self, request: ActionRequest, now: int) -> bool:
        permit = self._permit
        return request.episode_id == permit.episode_id and now < permit.valid_until

    def _release(self, request: ActionRequest, now: int) -> ActionRequest:
        """Let an action, or a chunk step, pass; the robot stops unless another one follows."""
        self._moving_until = min(self._permit.valid_until, now + self._lifetime_ns)
        return request

    def _match(self) -> ActionRequest | None:
        """Return the waiting action if the permit is for the observation that it answers."""
        waiting = self._waiting
        permit = self._permit
        if waiting is None or not permit.episode_id:
            return None
        if (waiting.episode_id, waiting.stamp) != (permit.episode_id, permit.stamp):
            return None
        self._waiting = None
        self._permit = MotionPermit()
        self._chunks.join(waiting)
        return self._chunks.due(waiting.stamp) if waiting.is_chunk else waiting

    def _refuse(self, reason: str) -> None:
        kind = reason.split(':')[0]
        self.last_refusal = reason
        self.refused[kind] = self.refused.get(kind, 0) + 1
