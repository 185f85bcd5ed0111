"""
What starts, permits and ends an episode: a state machine without ROS.

``idle -> resetting -> running -> saving -> idle``. Events come in as method calls, time as an
argument; what is to be done comes out as a list of commands. `efm_core/episode_rules.py` states
what ends an episode.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace
from enum import Enum
import math

from efm_core.episode import Outcome, Termination
from efm_core.episode_rules import EndingRules, EpisodeRules


class Phase(str, Enum):
    """Where an attempt is."""

    IDLE = 'idle'
    RESETTING = 'resetting'
    RUNNING = 'running'
    SAVING = 'saving'


@dataclass(frozen=True)
class Goal:
    """One attempt that somebody asked for; fields as in ``RunEpisode.action``."""

    episode_id: str
    index: int = 0
    _: KW_ONLY
    kind: str = 'practice'
    instruction: str = ''
    seed: int = 0
    max_steps: int = 0
    policy_version: int = 0


@dataclass(frozen=True)
class Ending:
    """
    How an attempt ended.

    :param stamp: the last observation [ns]; 0 when there was none.
    :param steps: actions executed before it.
    :param steps_to_go: d at the last observation [steps]; NaN without a reward model.
    """

    outcome: Outcome
    termination: Termination
    _: KW_ONLY
    stamp: int
    steps: int
    detail: str = ''
    steps_to_go: float = math.nan
    policy_version: int = 0
    reward_version: int = 0


@dataclass(frozen=True)
class ResetWorld:
    """Command: bring the scene to a start state; the answer names the same ``attempt``."""

    seed: int
    instruction: str
    _: KW_ONLY
    attempt: int


@dataclass(frozen=True)
class Start:
    """Command: announce that the episode runs, from the observation with this stamp [ns]."""

    goal: Goal
    stamp: int


@dataclass(frozen=True)
class Permit:
    """Command: let one action pass (lockstep), or renew the lease to move (real time)."""

    episode_id: str
    stamp: int


@dataclass(frozen=True)
class End:
    """Command: announce how the episode ended."""

    ending: Ending


@dataclass(frozen=True)
class Finish:
    """Command: tell whoever asked for the attempt that all is done."""

    ending: Ending
    recording: str = ''


class Supervisor:
    """
    Runs one attempt at a time.

    :param rules: what ends an episode.
    :param reward_enabled: steps-to-go is awaited for every observation.
    :param recorder_enabled: the attempt is over when its bag is on disk.
    :param period_s: control period [s]; turns steps into time where the world does not wait.
    :param chunk: control steps of one decision; a demonstrator may decide every one of them, and
        has as much time all the same.
    :param detector_ends_episode: d <= s ends an episode; if false, an episode runs to its time
        limit, so that an evaluation measures the policy apart from the detector.
    """

    def __init__(
        self,
        rules: EpisodeRules,
        lockstep: bool,
        *,
        reward_enabled: bool,
        recorder_enabled: bool,
        stall_timeout_s: float,
        period_s: float,
        detector_ends_episode: bool = True,
        chunk: int = 1,
    ):
        self._chunk = chunk
        self._rules = rules
        self._lockstep = lockstep
        self._reward_enabled = reward_enabled
        self._recorder_enabled = recorder_enabled
        self._stall_timeout_s = stall_timeout_s
        self._period_s = period_s
        self._detector_ends = detector_ends_episode
        self.phase = Phase.IDLE
        self.paused = False
        self.emergency = False
        self._attempt = 0
        self._clear()

    def begin(self, goal: Goal, now: float) -> list:
        """
        Start an attempt; ``now`` in seconds of a clock that never stops.

        :raises ValueError: when one is under way, paused, or the emergency stop is set.
        """
        for hindrance, what in (
            (self.phase != Phase.IDLE, f'an episode is {self.phase.value}'),
            (self.paused, 'paused'),
            (self.emergency, 'emergency stop is set'),
        ):
            if hindrance:
                raise ValueError(f'run_episode: expected an idle robot, got: {what}')
        self._clear()
        self._attempt += 1
        self.goal = goal
        self.phase = Phase.RESETTING
        self._moved_at = now
        return [ResetWorld(goal.seed, goal.instruction, attempt=self._attempt)]

    def on_reset(
        self,
        attempt: int,
        success: bool,
        instruction: str,
        stamp: int,
        message: str,
        now: float,
    ) -> list:
        """Take the world's answer; ``stamp`` [ns] is the first observation of the new scene."""
        if self.phase != Phase.RESETTING or attempt != self._attempt:
            return []
        if not success:
            return self._end(Outcome.UNLABELLED, Termination.FAULT, f'reset failed: {message}')
        max_steps = self._rules.step_limit(self.goal.max_steps)
        self._ending_rules = EndingRules(
            max_steps=max_steps,
            chunk=self._chunk,
            period_s=self._period_s,
            detector_ends_episode=self._detector_ends,
        )
        self.goal = replace(self.goal, instruction=instruction, max_steps=max_steps)
        self.phase = Phase.RUNNING
        self._moved_at = now
        self._started_at = now
        self._first_stamp = self._last_stamp = self._whole_stamp = stamp
        return [
            Start(self.goal, stamp),
            *([] if self._lockstep else [Permit(self.goal.episode_id, stamp)]),
        ]

    def on_action(
        self, episode_id: str, stamp: int, policy_version: int, now: float, rows: int = 1
    ) -> list:
        """Note that the action for the observation ``stamp`` [ns] is there, and its rows."""
        if not self._is_current(episode_id, stamp):
            return []
        if stamp in self._acted:
            return self._permit_again(stamp)
        self._action_stamp = stamp
        self._policy_version = policy_version
        self._acted[stamp] = rows
        return self._advance(stamp, now)

    def on_steps_to_go(
        self,
        episode_id: str,
        stamp: int,
        steps_to_go: float,
        success: bool,
        reward_version: int,
        now: float,
    ) -> list:
        """Note what the reward node says of the observation ``stamp`` [ns]."""
        if not self._is_current(episode_id, stamp):
            return []
        if stamp in self._seen:
            return self._permit_again(stamp)
        self._judged_stamp = stamp
        self._steps_to_go = steps_to_go
        self._success = success
        self._success_ever = self._success_ever or success
        self._seen.add(stamp)
        self._reward_version = reward_version
        return self._advance(stamp, now)

    def on_label(self, episode_id: str, outcome: str, stamp: int) -> list:
        """
        Take a person's word on the running episode, and end it.

        :param stamp: the observation on which it was seen [ns]; 0 for the newest. Within a chunk
            nothing is recorded, so there it is the one that began the chunk.
        :raises ValueError: when no such episode is running or the word is no outcome.
        """
        if self.phase != Phase.RUNNING or episode_id not in ('', self.goal.episode_id):
            raise ValueError(
                f'label_episode: expected the running episode, got {episode_id!r} '
                f'while {self.phase.value}'
            )
        word = Outcome(outcome)
        if max(self._acted.values(), default=1) == 1:
            self._whole_stamp = max(stamp, self._whole_stamp)
        return self._end(word, Termination.STOPPED)

    def on_recorded(self, episode_id: str, success: bool, uri: str, detail: str) -> list:
        """Take the recorder's word that the bag is on disk, or why not; it may give up early."""
        is_running = self.phase == Phase.RUNNING and self._recorder_enabled and not success
        if not (is_running or self.phase == Phase.SAVING) or episode_id != self.goal.episode_id:
            return []
        ended = self._end(Outcome.UNLABELLED, Termination.FAULT) if is_running else []
        self.phase = Phase.IDLE
        ending = self._ending_said
        if not success:
            reason = f'{ending.detail}; recording failed: {detail}'.lstrip('; ')
            ending = replace(
                ending, outcome=Outcome.UNLABELLED, termination=Termination.FAULT, detail=reason
            )
        return [*ended, Finish(ending, uri)]

    def on_emergency(self, stopped: bool) -> list:
        """Take the emergency stop; it ends what is running."""
        self.emergency = stopped
        return self.stop(Termination.FAULT, 'emergency stop') if stopped else []

    def stop(self, termination: Termination, detail: str) -> list:
        """End what is under way, for a reason that comes from outside."""
        if self.phase in (Phase.RESETTING, Phase.RUNNING):
            return self._end(Outcome.UNLABELLED, termination, detail)
        return []

    def tick(self, now: float) -> list:
        """Look at the clock: stalls, time-outs where the world does not wait, the lease."""
        if self.phase == Phase.IDLE:
            return []
        self._moved_at = min(self._moved_at, now)
        if now - self._moved_at > self._stall_timeout_s:
            return self._stalled(now)
        if self.phase != Phase.RUNNING or self._lockstep:
            return []
        over = self._ending_rules.ending(
            success=False,
            has_succeeded=self._success_ever,
            is_time_up=self._ending_rules.is_time_up(seconds=now - self._started_at),
        )
        if over:
            return self._end(*over)
        return [Permit(self.goal.episode_id, self._last_stamp)]

    def _clear(self) -> None:
        self._first_stamp = self._last_stamp = self._whole_stamp = 0
        self._action_stamp = self._judged_stamp = 0
        self._executed: list[int] = []
        self._acted: dict[int, int] = {}
        self._seen: set[int] = set()
        self._success = False
        self._success_ever = False
        self._steps_to_go = math.nan
        self._policy_version = self._reward_version = 0

    def _is_current(self, episode_id: str, stamp: int) -> bool:
        """Say whether a message counts; where the world does not wait, a judge may lag behind."""
        oldest = self._last_stamp if self._lockstep else self._first_stamp
        is_running = self.phase == Phase.RUNNING and episode_id == self.goal.episode_id
        return is_running and stamp >= oldest

    def _advance(self, stamp: int, now: float) -> list:
        """End the episode if it is over at ``stamp``, else let its action pass if all is there."""
        self._last_stamp = max(stamp, self._last_stamp)
        self._moved_at = now
        is_whole = stamp in self._acted and (not self._reward_enabled or stamp in self._seen)
        if is_whole:
            self._whole_stamp = max(stamp, self._whole_stamp)
        over = self._ending(is_whole)
        if over:
            return self._end(*over)
        answered = is_whole or (stamp in self._acted and not self._lockstep)
        if not answered or stamp <= self._permitted_stamp:
            return []
        self._executed.append(stamp)
        return [Permit(self.goal.episode_id, stamp)] if self._lockstep else []

    def _permit_again(self, stamp: int) -> list:
        """Answer what lockstep says again: the guard, or the world, may have missed it."""
        is_stuck = self._lockstep and stamp == self._permitted_stamp
        return [Permit(self.goal.episode_id, stamp)] if is_stuck else []

    @property
    def _permitted_stamp(self) -> int:
        return self._executed[-1] if self._executed else 0

    def _ending(self, is_whole: bool) -> tuple[Outcome, Termination] | None:
        """
        Return how the episode ends on this observation, or None.

        In lockstep an observation counts once its action and its prediction have arrived, so that
        the last observation of an episode is recorded. In real time success ends the episode at
        once, and `tick` checks the time limit.
        """
        if self._lockstep and not is_whole:
            return None
        moved = sum(self._acted[stamp] for stamp in self._executed)  # control steps
        return self._ending_rules.ending(
            success=self._success,
            has_succeeded=self._success_ever,
            is_time_up=self._lockstep and self._ending_rules.is_time_up(control_steps=moved),
        )

    def _end(self, outcome: Outcome, termination: Termination, detail: str = '') -> list:
        """End at the newest observation that has all that belongs to it; the rest is cut off."""
        was_running = self.phase == Phase.RUNNING
        ending = Ending(
            outcome,
            termination,
            stamp=self._whole_stamp,
            steps=sum(stamp < self._whole_stamp for stamp in self._executed),
            detail=detail,
            steps_to_go=self._steps_to_go,
            policy_version=self._policy_version,
            reward_version=self._reward_version,
        )
        self._ending_said = ending
        self._moved_at = math.inf  # the recorder's time begins with the next tick
        if was_running and self._recorder_enabled:
            self.phase = Phase.SAVING
            return [End(ending)]
        self.phase = Phase.IDLE
        return [*([End(ending)] if was_running else []), Finish(ending)]

    def _stalled(self, now: float) -> list:
        self._moved_at = now
        if self.phase == Phase.SAVING:
            return self.on_recorded(self.goal.episode_id, False, '', 'the recorder did not answer')
        if self.phase == Phase.RESETTING:
            return self._end(
                Outcome.UNLABELLED, Termination.FAULT, 'the world did not answer the reset'
            )
        return self._end(
            Outcome.UNLABELLED,
            Termination.FAULT,
            f'nothing for {self._stall_timeout_s} s; waiting for {self._missing()}',
        )

    def _missing(self) -> str:
        """Name what the episode waits for; without an image there is nothing else either."""
        if self._permitted_stamp == self._last_stamp:
            return 'an image'
        came = {'action': self._action_stamp}
        if self._reward_enabled:
            came['steps_to_go'] = self._judged_stamp
        missing = [name for name, stamp in came.items() if stamp != self._last_stamp]
        return ' and '.join(['an image'] * (len(missing) == len(came)) + missing)
