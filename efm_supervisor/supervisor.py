"""
The supervisor's state machine, without ROS: it starts, permits and ends episodes.

``idle -> resetting -> running -> saving -> idle``. Each event is a method call, with the time as
an argument; it returns the commands that follow. `efm_core/episode_rules.py` defines what ends an
episode.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
import math

from efm_core.episode import EpisodeGoal, Outcome, Termination
from efm_core.files import DISK_FULL
from efm_supervisor.commands import (
    AnnounceEnd,
    AnnounceStart,
    GrantPermit,
    ReportResult,
    RequestReset,
    SupervisorCommand,
)
from efm_supervisor.component_watch import ACTION, COMMAND, ComponentWatch, STEPS_TO_GO
from efm_supervisor.episode_progress import EpisodeProgress
from efm_supervisor.rules import SupervisorRules


class Phase(str, Enum):
    """The phase of the current episode."""

    IDLE = 'idle'
    RESETTING = 'resetting'
    RUNNING = 'running'
    SAVING = 'saving'


class Supervisor:
    """
    Runs one episode at a time.

    Stamps are in ns. ``now`` is in seconds of a clock that never stops.

    :ivar phase: of the current episode.
    """

    def __init__(self, rules: SupervisorRules):
        self._rules = rules
        self.phase = Phase.IDLE
        self._is_paused = False
        self._is_emergency = False
        self._episode = EpisodeProgress(EpisodeGoal(''), reset_id=0, progressed_at=0.0)
        self._watch = self._new_watch()

    @property
    def obstacle(self) -> str:
        """Why no episode can begin now; '' if one can."""
        if self.phase != Phase.IDLE:
            return f'an episode is {self.phase.value}'
        if self._is_paused:
            return 'paused'
        return 'emergency stop is set' if self._is_emergency else ''

    def begin(self, goal: EpisodeGoal, now: float) -> list[SupervisorCommand]:
        """
        Begin an episode with a reset.

        :raises ValueError: when an episode is under way, the supervisor is paused, or the
            emergency stop is set.
        """
        if self.obstacle:
            raise ValueError(f'run_episode: expected an idle robot, got: {self.obstacle}')
        self._episode = EpisodeProgress(goal, self._episode.reset_id + 1, progressed_at=now)
        self._watch = self._new_watch()
        self.phase = Phase.RESETTING
        return [RequestReset(goal, self._episode.reset_id)]

    def on_reset(
        self,
        reset_id: int,
        *,
        success: bool,
        instruction: str,
        stamp: int,
        message: str,
        now: float,
    ) -> list[SupervisorCommand]:
        """
        Process the reply to a reset.

        :param instruction: of the new scene.
        :param stamp: first observation of the new scene.
        :param message: reason of a failure.
        """
        episode = self._episode
        if self.phase != Phase.RESETTING or reset_id != episode.reset_id:
            return []
        if not success:
            return self._end(Outcome.UNLABELLED, Termination.FAULT, f'reset failed: {message}')
        max_steps = self._rules.episode.step_limit(episode.goal.max_steps)
        goal = replace(episode.goal, instruction=instruction, max_steps=max_steps)
        episode.start(goal, stamp, now)
        episode.commanded = None if self._rules.lockstep else set()
        self.phase = Phase.RUNNING
        start = AnnounceStart(goal, stamp)
        return [start] if self._rules.lockstep else [start, GrantPermit(goal.episode_id, stamp)]

    def on_action(
        self,
        episode_id: str,
        stamp: int,
        *,
        policy_version: int,
        chunk_steps: int = 1,
        period: int = 0,
        age_s: float = 0.0,
        now: float,
    ) -> list[SupervisorCommand]:
        """
        Process the action for an observation.

        :param chunk_steps: its number of steps.
        :param period: time between them [ns].
        :param age_s: time since the observation [s], in real time.
        """
        if not self._is_current(episode_id, stamp):
            return []
        if stamp in self._episode.chunk_steps:
            return self._repeat_permit(stamp)
        self._watch.note(ACTION, now, age_s=age_s)
        self._episode.add_action(stamp, policy_version, chunk_steps, period)
        return self._advance(stamp, now)

    def on_steps_to_go(
        self,
        episode_id: str,
        stamp: int,
        *,
        steps_to_go: float,
        success: bool,
        reward_version: int,
        now: float,
    ) -> list[SupervisorCommand]:
        """Process the prediction for an observation; ``success``: the detector fires."""
        if not self._is_current(episode_id, stamp):
            return []
        if stamp in self._episode.predicted:
            return self._repeat_permit(stamp)
        self._watch.note(STEPS_TO_GO, now)
        self._episode.add_prediction(stamp, steps_to_go, success, reward_version)
        return self._advance(stamp, now)

    def on_command(self, stamp: int, now: float) -> None:
        """Note a command of the guard, in real time; ``stamp`` is that of its action [ns]."""
        if self._episode.commanded is not None:
            self._watch.note(COMMAND, now)
            self._episode.commanded.add(stamp)

    def on_label(self, episode_id: str, outcome: str, stamp: int) -> list[SupervisorCommand]:
        """
        End the running episode with a label.

        :param episode_id: '' for the running episode.
        :param stamp: observation that shows the outcome; 0 for the newest. A chunk has no
            observation inside: there the one that began the chunk counts.
        :raises ValueError: when this episode is not running, or ``outcome`` is unknown.
        """
        episode = self._episode
        if self.phase != Phase.RUNNING or episode_id not in ('', episode.goal.episode_id):
            raise ValueError(
                f'label_episode: expected the running episode, got {episode_id!r} '
                f'while {self.phase.value}'
            )
        known = [known.value for known in Outcome]
        if outcome not in known:
            raise ValueError(f'label_episode: expected one of {", ".join(known)}, got {outcome!r}')
        if not episode.has_chunks:
            episode.complete_stamp = max(stamp, episode.complete_stamp)
        return self._end(Outcome(outcome), Termination.STOPPED)

    def on_recorded(
        self, episode_id: str, *, success: bool, uri: str, detail: str
    ) -> list[SupervisorCommand]:
        """
        Process the recorder's result; a recorder that fails may report it while running.

        A full disk pauses the robot: each further episode would be lost too.
        """
        episode = self._episode
        failed_early = self.phase == Phase.RUNNING and self._rules.recorder_enabled and not success
        if episode_id != episode.goal.episode_id or not (
            failed_early or self.phase == Phase.SAVING
        ):
            return []
        ending = episode.ending or episode.conclude(Outcome.UNLABELLED, Termination.FAULT)
        announcement = [AnnounceEnd(episode.goal, ending)] if failed_early else []
        if not success:
            self._is_paused = self._is_paused or detail.startswith(DISK_FULL)
            detail = f'{ending.detail}; recording failed: {detail}'.lstrip('; ')
            ending = replace(
                ending, outcome=Outcome.UNLABELLED, termination=Termination.FAULT, detail=detail
            )
        self.phase = Phase.IDLE
        return [*announcement, ReportResult(episode.goal, ending, recording=uri)]

    def on_emergency(self, stopped: bool) -> list[SupervisorCommand]:
        """Process the emergency stop; setting it ends the episode."""
        self._is_emergency = stopped
        return self.stop(Termination.STOPPED, 'emergency stop') if stopped else []

    def pause(self) -> list[SupervisorCommand]:
        """Let the running episode finish, and begin no other."""
        self._is_paused = True
        return []

    def resume(self) -> list[SupervisorCommand]:
        """Allow episodes again, after `pause` or `take_over`."""
        self._is_paused = False
        return []

    def take_over(self) -> list[SupervisorCommand]:
        """End the episode at once, and begin no other: a person moves the robot from here."""
        self._is_paused = True
        return self.stop(Termination.INTERVENTION, 'a person took over')

    def stop(self, termination: Termination, detail: str) -> list[SupervisorCommand]:
        """End the episode without a label, for a reason from outside."""
        if self.phase in (Phase.RESETTING, Phase.RUNNING):
            return self._end(Outcome.UNLABELLED, termination, detail)
        return []

    def tick(self, now: float) -> list[SupervisorCommand]:
        """Check for a stall; in real time check the time limit and renew the permit."""
        if self.phase == Phase.IDLE:
            return []
        episode = self._episode
        episode.progressed_at = min(episode.progressed_at, now)
        is_resetting = self.phase == Phase.RESETTING
        rules = self._rules
        limit_s = rules.reset_timeout_s if is_resetting else rules.stall_timeout_s
        if now - episode.progressed_at > limit_s:
            return self._stalled(now)
        if self.phase != Phase.RUNNING or self._rules.lockstep:
            return []
        silent = self._watch.fault(now)
        if silent:
            return self._fault(silent)
        return self._renew(now)

    def _renew(self, now: float) -> list[SupervisorCommand]:
        """Renew the permit of an episode in real time, or end it when its time is up."""
        episode = self._episode
        ending = self._rules.ending_rules(episode.goal.max_steps)
        over = ending.ending(
            success=False,
            has_succeeded=episode.has_succeeded,
            is_time_up=ending.is_time_up(seconds=now - episode.started_at),
        )
        if not over:
            return [GrantPermit(episode.goal.episode_id, episode.newest_stamp)]
        silent = self._watch.fault_at_end(now)
        return self._fault(silent) if silent else self._end(*over)

    def _fault(self, silent: str) -> list[SupervisorCommand]:
        """End the episode because a component is silent."""
        return self._end(Outcome.UNLABELLED, Termination.FAULT, silent)

    def _new_watch(self) -> ComponentWatch:
        return ComponentWatch(
            limit_s=self._rules.silence_timeout_s,
            lifetime_s=self._rules.lifetime_s,
            reward_enabled=self._rules.reward_enabled,
        )

    def _is_current(self, episode_id: str, stamp: int) -> bool:
        """Return whether a message counts; in real time a prediction may be behind the actions."""
        episode = self._episode
        oldest = episode.newest_stamp if self._rules.lockstep else episode.first_stamp
        is_running = self.phase == Phase.RUNNING and episode_id == episode.goal.episode_id
        return is_running and stamp >= oldest

    def _advance(self, stamp: int, now: float) -> list[SupervisorCommand]:
        """End the episode if it is over at ``stamp``; otherwise pass the action if it is due."""
        episode = self._episode
        has_action = stamp in episode.chunk_steps
        has_prediction = stamp in episode.predicted or not self._rules.reward_enabled
        is_complete = has_action and has_prediction
        episode.advance(stamp, is_complete, now)
        over = self._ending(is_complete)
        if over:
            return self._end(*over)
        is_due = is_complete if self._rules.lockstep else has_action
        if not is_due or stamp <= episode.permitted_stamp:
            return []
        episode.executed.append(stamp)
        return [GrantPermit(episode.goal.episode_id, stamp)] if self._rules.lockstep else []

    def _ending(self, is_complete: bool) -> tuple[Outcome, Termination] | None:
        """
        Return how the episode ends on this observation, or None.

        In lockstep only a complete observation counts, so that the last one is always recorded.
        In real time success ends the episode at once, and `tick` checks the time limit.
        """
        episode = self._episode
        lockstep = self._rules.lockstep
        if lockstep and not is_complete:
            return None
        rules = self._rules.ending_rules(episode.goal.max_steps)
        return rules.ending(
            success=episode.success,
            has_succeeded=episode.has_succeeded,
            is_time_up=lockstep and rules.is_time_up(control_steps=episode.control_steps),
        )

    def _repeat_permit(self, stamp: int) -> list[SupervisorCommand]:
        """Return the last permit again: in lockstep a repeated answer means that it was lost."""
        episode = self._episode
        is_stuck = self._rules.lockstep and stamp == episode.permitted_stamp
        return [GrantPermit(episode.goal.episode_id, stamp)] if is_stuck else []

    def _end(
        self, outcome: Outcome, termination: Termination, detail: str = ''
    ) -> list[SupervisorCommand]:
        """End the episode; with a recorder the result waits for the bag."""
        episode = self._episode
        ending = episode.conclude(outcome, termination, detail)
        episode.progressed_at = math.inf  # the next tick starts the time limit of the recorder
        commands: list[SupervisorCommand] = []
        if self.phase == Phase.RUNNING:
            commands.append(AnnounceEnd(episode.goal, ending))
            if self._rules.recorder_enabled:
                self.phase = Phase.SAVING
                return commands
        self.phase = Phase.IDLE
        return [*commands, ReportResult(episode.goal, ending)]

    def _stalled(self, now: float) -> list[SupervisorCommand]:
        """End the episode as a fault that names the silent component."""
        episode = self._episode
        episode.progressed_at = now
        if self.phase == Phase.SAVING:
            detail = 'the recorder did not answer'
            return self.on_recorded(episode.goal.episode_id, success=False, uri='', detail=detail)
        if self.phase == Phase.RESETTING:
            detail = f'the world did not answer the reset for {self._rules.reset_timeout_s} s'
        else:
            missing = episode.missing(self._rules.reward_enabled)
            detail = f'nothing for {self._rules.stall_timeout_s} s; waiting for {missing}'
        return self._end(Outcome.UNLABELLED, Termination.FAULT, detail)
