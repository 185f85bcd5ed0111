"""A running episode: when an action is permitted, and when the episode is over."""

from __future__ import annotations

import math
from typing import NamedTuple

from efm_core.episode import Outcome, Termination
from efm_core.episode_rules import EndingRules
from efm_supervisor.commands import GrantPermit
from efm_supervisor.component_watch import ACTION, COMMAND, ComponentWatch, STEPS_TO_GO
from efm_supervisor.episode_progress import EpisodeProgress
from efm_supervisor.events import ActionEvent, PredictionEvent
from efm_supervisor.rules import SupervisorRules


class EpisodeOver(NamedTuple):
    """The episode is over; `efm_core/episode_rules.py` defines what ends it."""

    outcome: Outcome
    termination: Termination
    detail: str = ''


Decision = EpisodeOver | GrantPermit | None


class RunningEpisode:
    """
    Decides what follows each message of one running episode.

    Stamps are in ns. ``now`` is in seconds of a clock that never stops.

    :ivar progress: of the episode, from its reset on.
    """

    def __init__(self, rules: SupervisorRules, progress: EpisodeProgress):
        self.progress = progress
        self._rules = rules
        self._watch = ComponentWatch(
            limit_s=rules.silence_timeout_s,
            lifetime_s=rules.lifetime_s,
            reward_enabled=rules.reward_enabled,
        )

    def on_action(self, action: ActionEvent, now: float) -> Decision:
        """Process the action for an observation."""
        stamp = action.stamp
        if not self._is_current(action.episode_id, stamp):
            return None
        if stamp in self.progress.chunk_steps:
            return self._repeat_permit(stamp)
        self._watch.note(ACTION, now, age_s=action.age_s)
        self.progress.add_action(stamp, action.policy_version, action.chunk_steps, action.period)
        return self._advance(stamp, now)

    def on_prediction(self, prediction: PredictionEvent, now: float) -> Decision:
        """Process the prediction for an observation."""
        stamp = prediction.stamp
        if not self._is_current(prediction.episode_id, stamp):
            return None
        if stamp in self.progress.predicted:
            return self._repeat_permit(stamp)
        self._watch.note(STEPS_TO_GO, now)
        self.progress.add_prediction(
            stamp, prediction.steps_to_go, prediction.success, prediction.reward_version
        )
        return self._advance(stamp, now)

    def on_terminated(self, stamp: int) -> Decision:
        """
        Note the observation on which the scene has ended; the episode ends once it is complete.

        Without a reward model a person labels an episode in real time, after the scene has ended.
        """
        episode = self.progress
        is_counted = self._rules.lockstep or self._rules.reward_enabled
        if stamp < episode.first_stamp or not is_counted:
            return None
        if episode.ended_stamp is None:
            episode.ended_stamp = stamp
        is_answered = episode.complete_stamp in episode.chunk_steps
        if not is_answered or not episode.has_ended:
            return None
        return self._ending_on_observation(is_answered)

    def on_command(self, stamp: int, now: float) -> None:
        """Note a command of the guard, in real time; ``stamp`` is that of its action."""
        if self.progress.commanded is not None:
            self._watch.note(COMMAND, now)
            self.progress.commanded.add(stamp)

    def tick(self, now: float) -> Decision:
        """In real time check the components and the time limit, and renew the permit."""
        if self._rules.lockstep:
            return None
        silent = self._watch.fault(now)
        if silent:
            return EpisodeOver(Outcome.UNLABELLED, Termination.FAULT, silent)
        episode = self.progress
        is_time_up = self._ending_rules().is_time_up(seconds=now - episode.started_at)
        over = self._ending(False, is_time_up)
        if not over:
            # After a detection the robot waits for the action that completes the observation.
            awaits_end = bool(self._ending(episode.has_succeeded, False))
            newest = GrantPermit(episode.goal.episode_id, episode.newest_stamp)
            return None if awaits_end else newest
        silent = self._watch.fault_at_end(now)
        return EpisodeOver(Outcome.UNLABELLED, Termination.FAULT, silent) if silent else over

    def _is_current(self, episode_id: str, stamp: int) -> bool:
        """Return whether a message counts; in real time a prediction may be behind the actions."""
        episode = self.progress
        oldest = episode.newest_stamp if self._rules.lockstep else episode.first_stamp
        return episode_id == episode.goal.episode_id and stamp >= oldest

    def _advance(self, stamp: int, now: float) -> Decision:
        """End the episode if it is over at ``stamp``; otherwise pass the action if it is due."""
        episode = self.progress
        has_action = stamp in episode.chunk_steps
        has_prediction = stamp in episode.predicted or not self._rules.reward_enabled
        is_complete = has_action and has_prediction
        episode.advance(stamp, is_complete, now)
        over = self._ending_on_observation(is_complete)
        if over:
            return over
        is_due = is_complete if self._rules.lockstep else has_action
        if not is_due or stamp <= episode.permitted_stamp:
            return None
        episode.executed.append(stamp)
        return GrantPermit(episode.goal.episode_id, stamp) if self._rules.lockstep else None

    def _ending_on_observation(self, is_complete: bool) -> EpisodeOver | None:
        """
        Return how the episode ends on this observation, or None.

        Only a complete observation counts, so that the last one is always recorded. In real time
        `tick` checks the time limit.
        """
        episode = self.progress
        if not self._rules.lockstep:
            return self._ending(episode.success_is_complete, False)
        if not is_complete:
            return None
        is_time_up = self._ending_rules().is_time_up(control_steps=episode.control_steps)
        return self._ending(episode.success, is_time_up)

    def _ending(self, success: bool, is_time_up: bool) -> EpisodeOver | None:
        episode = self.progress
        over = self._ending_rules().ending(
            success=success,
            has_succeeded=episode.has_succeeded,
            is_time_up=is_time_up,
            has_ended=episode.has_ended,
            steps_to_go=episode.steps_to_go if self._rules.reward_enabled else math.inf,
        )
        return EpisodeOver(*over) if over else None

    def _ending_rules(self) -> EndingRules:
        return self._rules.ending_rules(self.progress.goal.max_steps)

    def _repeat_permit(self, stamp: int) -> GrantPermit | None:
        """Return the last permit again: in lockstep a repeated answer means that it was lost."""
        episode = self.progress
        is_stuck = self._rules.lockstep and stamp == episode.permitted_stamp
        return GrantPermit(episode.goal.episode_id, stamp) if is_stuck else None
