"""
The supervisor's state machine, without ROS: it starts, permits and ends episodes.

``idle -> resetting -> running -> saving -> idle``. Each event is a method call, with the time as
an argument; it returns the commands that follow. `efm_supervisor/running_episode.py` decides what
follows in a running episode.
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
from efm_supervisor.episode_progress import ending_without_recording, EpisodeProgress
from efm_supervisor.events import ActionEvent, PredictionEvent, RecordingResult, ResetReply
from efm_supervisor.rules import SupervisorRules
from efm_supervisor.running_episode import Decision, EpisodeOver, RunningEpisode


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
        none = EpisodeProgress(EpisodeGoal(''), reset_id=0, progressed_at=0.0)
        self._running = RunningEpisode(rules, none)

    @property
    def _episode(self) -> EpisodeProgress:
        return self._running.progress

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
        progress = EpisodeProgress(goal, self._episode.reset_id + 1, progressed_at=now)
        self._running = RunningEpisode(self._rules, progress)
        self.phase = Phase.RESETTING
        return [RequestReset(goal, progress.reset_id)]

    def on_reset(self, reply: ResetReply, now: float) -> list[SupervisorCommand]:
        """Process the reply to a reset."""
        episode = self._episode
        if self.phase != Phase.RESETTING or reply.reset_id != episode.reset_id:
            return []
        if not reply.success:
            return self._fault(f'reset failed: {reply.message}')
        max_steps = self._rules.episode.step_limit(episode.goal.max_steps)
        goal = replace(episode.goal, instruction=reply.instruction, max_steps=max_steps)
        episode.start(goal, reply.stamp, now)
        episode.commanded = None if self._rules.lockstep else set()
        self.phase = Phase.RUNNING
        start = AnnounceStart(goal, reply.stamp)
        permit = GrantPermit(goal.episode_id, reply.stamp)
        return [start] if self._rules.lockstep else [start, permit]

    def on_action(self, action: ActionEvent, now: float) -> list[SupervisorCommand]:
        """Process the action for an observation."""
        if self.phase != Phase.RUNNING:
            return []
        return self._follow(self._running.on_action(action, now))

    def on_steps_to_go(self, prediction: PredictionEvent, now: float) -> list[SupervisorCommand]:
        """Process the prediction for an observation."""
        if self.phase != Phase.RUNNING:
            return []
        return self._follow(self._running.on_prediction(prediction, now))

    def on_command(self, stamp: int, now: float) -> None:
        """Note a command of the guard, in real time; ``stamp`` is that of its action [ns]."""
        self._running.on_command(stamp, now)

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

    def on_recorded(self, result: RecordingResult) -> list[SupervisorCommand]:
        """
        Process the recorder's result; a recorder that fails may report it while running.

        A full disk pauses the robot: each further episode would be lost too.
        """
        episode = self._episode
        is_running = self.phase == Phase.RUNNING
        failed_early = is_running and self._rules.recorder_enabled and not result.success
        if result.episode_id != episode.goal.episode_id or not (
            failed_early or self.phase == Phase.SAVING
        ):
            return []
        ending = episode.ending or episode.conclude(Outcome.UNLABELLED, Termination.FAULT)
        announcement = [AnnounceEnd(episode.goal, ending)] if failed_early else []
        if not result.success:
            self._is_paused = self._is_paused or result.detail.startswith(DISK_FULL)
            ending = ending_without_recording(ending, result.detail)
        self.phase = Phase.IDLE
        return [*announcement, ReportResult(episode.goal, ending, recording=result.uri)]

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
        """Check for a stall; in real time check the running episode, and renew the permit."""
        if self.phase == Phase.IDLE:
            return []
        episode = self._episode
        episode.progressed_at = min(episode.progressed_at, now)
        is_resetting = self.phase == Phase.RESETTING
        rules = self._rules
        limit_s = rules.reset_timeout_s if is_resetting else rules.stall_timeout_s
        if now - episode.progressed_at > limit_s:
            return self._stalled(now)
        return self._follow(self._running.tick(now)) if self.phase == Phase.RUNNING else []

    def _follow(self, decision: Decision) -> list[SupervisorCommand]:
        """Return the commands for a decision about the running episode."""
        if isinstance(decision, EpisodeOver):
            return self._end(*decision)
        return [decision] if decision else []

    def _fault(self, detail: str) -> list[SupervisorCommand]:
        return self._end(Outcome.UNLABELLED, Termination.FAULT, detail)

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
            failure = RecordingResult(
                episode.goal.episode_id,
                success=False,
                uri='',
                detail='the recorder did not answer',
            )
            return self.on_recorded(failure)
        if self.phase == Phase.RESETTING:
            detail = f'the world did not answer the reset for {self._rules.reset_timeout_s} s'
        else:
            missing = episode.missing(self._rules.reward_enabled)
            detail = f'nothing for {self._rules.stall_timeout_s} s; waiting for {missing}'
        return self._fault(detail)
