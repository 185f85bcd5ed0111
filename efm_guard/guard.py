"""
The last check before the robot: which actions pass, and when the robot must stop.

Pure logic without ROS and without a clock: the time is an argument. A chunk is accepted or
rejected as a whole when it arrives; then each of its steps passes when it is due.
``docs/safety.md`` states the rules.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, KW_ONLY, replace

from efm_core.embodiment import Embodiment
from efm_guard.chunk_executor import ActionRequest, ChunkExecutor
from efm_guard.moment import Moment
import numpy as np

__all__ = ['ActionRequest', 'Guard', 'Moment', 'MotionPermit']

LATE_IN_A_ROW = 5  # so many actions refused for their time, with none between, are a fault
TIME_KINDS = ('stale', 'ahead of time', 'state')
MEND = (
    'synchronise the clocks of camera, policy and guard (chrony, or use_sim_time on every node), '
    'or shorten the way from the camera to the guard'
)


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
    :ivar emergency: the emergency stop is set; nothing passes until `release_emergency`.
    :ivar refused: reason to number of rejected actions and permits.
    :ivar last_refusal: the newest reason, in full.
    """

    def __init__(self, embodiment: Embodiment, lockstep: bool) -> None:
        self._embodiment = embodiment
        self._lockstep = lockstep
        spec = embodiment.action.spec
        self._spec = {1: spec, 2: replace(spec, shape=(embodiment.action.chunk, *spec.shape))}
        self._chunks = ChunkExecutor(repeats=lockstep)
        self._lifetime_ns = int(embodiment.action_lifetime_s * 1e9)
        self._longest_permit_ns = int(embodiment.max_permit_s * 1e9)
        self._permit = MotionPermit()
        self._permitted_until = 0  # [ns], steady
        self._ended: deque[str] = deque(maxlen=16)  # episodes that no permit brings back
        self._waiting: ActionRequest | None = None
        self.emergency = False
        self.refused: dict[str, int] = {}
        self.last_refusal = ''
        self._moving_until = 0  # [ns], steady
        self._must_stop = False
        self._newest_time = 0  # [ns], ROS
        self._jump = ''
        self._late = 0
        self._late_reason = ''

    @property
    def skipped(self) -> int:
        """The number of chunk steps whose time passed unused."""
        return self._chunks.skipped

    @property
    def fault(self) -> str:
        """Why the robot cannot move though it is permitted to; empty without such a reason."""
        if self._jump:
            return self._jump
        if self._late < LATE_IN_A_ROW:
            return ''
        return f'{self._late} actions in a row refused; {self._late_reason}; {MEND}'

    def on_action(self, request: ActionRequest, now: Moment) -> ActionRequest | None:
        """Return the action, or the chunk step that is due, if it may pass; else None."""
        self._watch_clock(now)
        reason = self._objection(request, now)
        if reason:
            self.refuse(reason)
            return None
        if not self._lockstep:
            return self._accept(request, now)
        self._waiting = request
        return self._match()

    def on_permit(self, permit: MotionPermit, now: Moment) -> ActionRequest | None:
        """
        Take a permit; return the action that waited for it, or its first step, or None.

        In real time a permit for an ended episode, an expired one, and one for another episode
        than that of the valid permit are refused: the first owner keeps the robot.
        """
        self._watch_clock(now)
        if self._lockstep:
            self._permit = permit
            return self._match()
        rest = min(permit.valid_until - now.ros, self._longest_permit_ns)
        owner = self._permit.episode_id if now.steady < self._permitted_until else ''
        is_over = permit.episode_id in ('', *self._ended)
        if is_over or rest <= 0 or self.emergency:
            return None
        if owner not in ('', permit.episode_id):
            self.refuse(f'second owner: expected a permit for {owner}, got {permit.episode_id}')
            return None
        self._permit = permit
        self._permitted_until = now.steady + rest
        return None

    def on_time(self, now: Moment) -> ActionRequest | None:
        """
        Return the step of the current chunk that is due, once; else None.

        :param now: in lockstep ``ros`` is the world's newest stamp.
        """
        self._watch_clock(now)
        step = self._chunks.due(now.ros)
        if step is None or self._lockstep:
            return step
        if self._is_permitted(step, now):
            return self._release(step, now)
        self.cut()
        self.refuse('no permit')
        return None

    def cut(self) -> None:
        """Drop the rest of the current chunk: one of its steps could not be executed."""
        self._chunks.cut()

    def begin(self, episode_id: str) -> None:
        """Begin an episode: its permits count from now on, also if its name was used before."""
        self._jump = ''
        if episode_id in self._ended:
            self._ended.remove(episode_id)

    def end(self, episode_id: str) -> None:
        """End an episode: a permit or an action that is still on its way moves nothing."""
        if episode_id not in self._ended:
            self._ended.append(episode_id)
        self.revoke()

    def on_emergency(self) -> None:
        """Set the emergency stop, and end the episode; nothing passes while it is set."""
        self.emergency = True
        self.end(self._permit.episode_id)

    def release_emergency(self) -> None:
        """Reset the emergency stop; motion needs a new episode and a new permit."""
        self.emergency = False

    def revoke(self) -> None:
        """Revoke the permit, and forget the waiting action and the chunk."""
        self._permit = MotionPermit()
        self._permitted_until = 0
        self._waiting = None
        self._moving_until = 0
        self._chunks.drop()

    def must_stop(self, now: Moment) -> bool:
        """Return, once, whether the last command outlived permit or lifetime, or time ran back."""
        self._watch_clock(now)
        if self._moving_until and now.steady >= self._moving_until and not self._lockstep:
            self._moving_until = 0
            self._must_stop = True
        due = self._must_stop
        self._must_stop = False
        return due

    def refuse(self, reason: str) -> None:
        """Count a refusal, of the guard or of the robot that the guard serves."""
        kind = reason.split(':')[0]
        self.last_refusal = reason
        self.refused[kind] = self.refused.get(kind, 0) + 1
        if kind in TIME_KINDS:
            self._late += 1
            self._late_reason = reason

    def on_sent(self) -> None:
        """Note that a command went to the robot: its times are in order."""
        self._late = 0

    def _watch_clock(self, now: Moment) -> None:
        """Stop when the time runs back: old stamps would be new, and stale actions fresh."""
        if now.ros < self._newest_time and not self._lockstep:
            back = (self._newest_time - now.ros) / 1e9
            self._jump = (
                f'clock: expected time to run forward, got a jump back of {back:.3f} s; the '
                'episode is stopped; find what sets the clock, then start the next episode'
            )
            self.end(self._permit.episode_id)
            self._must_stop = True
        self._newest_time = now.ros

    def _objection(self, request: ActionRequest, now: Moment) -> str:
        """Return why this action must never pass; empty if it may."""
        if self.emergency:
            return 'emergency stop'
        if request.embodiment_hash != self._embodiment.hash:
            return f'embodiment: expected {self._embodiment.hash}, got {request.embodiment_hash}'
        late = self._lateness(request, now)
        if late:
            return late
        try:
            self._check_shape(request)
        except ValueError as error:
            return str(error)
        low = np.array(self._embodiment.action.low, np.float32)
        high = np.array(self._embodiment.action.high, np.float32)
        if (request.values < low).any() or (request.values > high).any():
            return 'out of range'
        return '' if self._lockstep else self._chunks.objection(request, now.ros)

    def _lateness(self, request: ActionRequest, now: Moment) -> str:
        """Return why the time of an action is wrong; empty if it is right."""
        bounded = request if self._lockstep else self._bounded(request)
        last = bounded.chunk_step(len(request.values) - 1) if request.is_chunk else bounded
        if last.deadline and now.ros > last.deadline:
            age = (now.ros - request.stamp) / 1e9
            limit_s = self._embodiment.action_lifetime_s
            return (
                f'stale: expected an observation of the last {limit_s} s and a deadline to come, '
                f"got an age of {age:.3f} s by the guard's clock"
            )
        ahead = request.stamp - now.ros
        if not self._lockstep and ahead > self._embodiment.period_ns:
            return (
                'ahead of time: expected an observation at most a control period in the future, '
                f"got {ahead / 1e9:.3f} s by the guard's clock"
            )
        return ''

    def _bounded(self, request: ActionRequest) -> ActionRequest:
        """Return the action with a deadline that is no later than its lifetime allows."""
        latest = request.stamp + self._lifetime_ns
        return replace(request, deadline=min(request.deadline or latest, latest))

    def _check_shape(self, request: ActionRequest) -> None:
        """
        Refuse values of another shape or period, or not finite.

        :raises ValueError: with the expected and the found value.
        """
        period = self._embodiment.period_ns
        if request.is_chunk and request.period != period:
            raise ValueError(f'period: expected {period} ns a chunk step, got {request.period}')
        self._spec[2 if request.is_chunk else 1].check(request.values)

    def _accept(self, request: ActionRequest, now: Moment) -> ActionRequest | None:
        if not self._is_permitted(request, now):
            self.refuse('no permit')
            return None
        self._chunks.join(self._bounded(request))
        return self.on_time(now) if request.is_chunk else self._release(request, now)

    def _is_permitted(self, request: ActionRequest, now: Moment) -> bool:
        in_time = now.steady < self._permitted_until
        return in_time and request.episode_id == self._permit.episode_id

    def _release(self, request: ActionRequest, now: Moment) -> ActionRequest:
        """Let an action, or a chunk step, pass; the robot stops unless another one follows."""
        self._moving_until = min(self._permitted_until, now.steady + self._lifetime_ns)
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
