"""The state of one episode: which messages have arrived for which observation."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
import math

from efm_core.episode import EpisodeEnding, EpisodeGoal, Outcome, Termination
from efm_core.executed import due_stamps, executed_stamps


@dataclass
class EpisodeProgress:
    """
    The progress of one episode, from reset to end. Stamps are in ns, times in s.

    An observation is complete when all messages that answer it have arrived.

    :param progressed_at: time of the last message that moved the episode on.
    :param complete_stamp: newest complete observation.
    :param action_stamp: observation of the newest action.
    :param prediction_stamp: observation of the newest prediction.
    :param chunk_steps: number of control steps of the action for each stamp.
    :param due: when the control steps of the action for each stamp are due.
    :param predicted: stamps with a prediction.
    :param executed: stamps whose action may be executed, in order.
    :param commanded: in real time, stamps of the commands that the guard has sent; None in
        lockstep, where it sends one for each permit.
    :param success_stamp: first observation on which the success detector fired; None: on none.
    :param ended_stamp: first observation on which the scene has ended; None: it goes on.
    """

    goal: EpisodeGoal
    reset_id: int
    _: KW_ONLY
    progressed_at: float
    started_at: float = 0.0
    first_stamp: int = 0
    newest_stamp: int = 0
    complete_stamp: int = 0
    action_stamp: int = 0
    prediction_stamp: int = 0
    chunk_steps: dict[int, int] = field(default_factory=dict)
    due: dict[int, tuple[int, ...]] = field(default_factory=dict)
    predicted: set[int] = field(default_factory=set)
    executed: list[int] = field(default_factory=list)
    commanded: set[int] | None = None
    success: bool = False
    success_stamp: int | None = None
    steps_to_go: float = math.nan
    ended_stamp: int | None = None
    policy_version: int = 0
    reward_version: int = 0
    ending: EpisodeEnding | None = None

    @property
    def permitted_stamp(self) -> int:
        """The newest observation whose action may be executed [ns]; 0 for none."""
        return self.executed[-1] if self.executed else 0

    @property
    def control_steps(self) -> int:
        """The number of control steps of all actions that may be executed."""
        return sum(self.chunk_steps[stamp] for stamp in self.executed)

    @property
    def has_succeeded(self) -> bool:
        """Whether the success detector has fired on some observation."""
        return self.success_stamp is not None

    @property
    def success_is_complete(self) -> bool:
        """Whether the observation on which the success detector fired is complete."""
        return self.success_stamp is not None and self.complete_stamp >= self.success_stamp

    @property
    def has_ended(self) -> bool:
        """Whether the scene had ended on the newest complete observation."""
        return self.ended_stamp is not None and self.complete_stamp >= self.ended_stamp

    @property
    def has_chunks(self) -> bool:
        """Whether any action so far is a chunk."""
        return max(self.chunk_steps.values(), default=1) > 1

    def start(self, goal: EpisodeGoal, stamp: int, now: float) -> None:
        """Start the episode; ``goal`` has the instruction and the time limit of the new scene."""
        self.goal = goal
        self.started_at = now
        self.progressed_at = now
        self.first_stamp = stamp
        self.newest_stamp = stamp
        self.complete_stamp = stamp

    def add_action(self, stamp: int, policy_version: int, chunk_steps: int, period: int) -> None:
        """Note the action for an observation; ``period`` between its steps [ns]."""
        self.action_stamp = stamp
        self.policy_version = policy_version
        self.chunk_steps[stamp] = chunk_steps
        self.due[stamp] = due_stamps(stamp, chunk_steps, period)

    def add_prediction(
        self, stamp: int, steps_to_go: float, success: bool, reward_version: int
    ) -> None:
        """Note the prediction for an observation."""
        self.prediction_stamp = stamp
        self.steps_to_go = steps_to_go
        self.success = success
        if success and self.success_stamp is None:
            self.success_stamp = stamp
        self.reward_version = reward_version
        self.predicted.add(stamp)

    def advance(self, stamp: int, is_complete: bool, now: float) -> None:
        """Note that the episode has moved on to an observation."""
        self.newest_stamp = max(stamp, self.newest_stamp)
        self.progressed_at = now
        if is_complete:
            self.complete_stamp = max(stamp, self.complete_stamp)

    def conclude(
        self, outcome: Outcome, termination: Termination, detail: str = ''
    ) -> EpisodeEnding:
        """Return the ending at the newest complete observation; later ones are dropped."""
        self.ending = EpisodeEnding(
            outcome,
            termination,
            stamp=self.complete_stamp,
            steps=self._count_executed(),
            detail=detail,
            steps_to_go=self.steps_to_go,
            policy_version=self.policy_version,
            reward_version=self.reward_version,
        )
        return self.ending

    def _count_executed(self) -> int:
        """Return the number of actions before the last observation that were executed."""
        before = [stamp for stamp in self.executed if stamp < self.complete_stamp]
        if self.commanded is None:
            return len(before)
        return len(executed_stamps(before, self.due, self.commanded))

    def missing(self, reward_enabled: bool) -> str:
        """Return the names of the messages that the episode waits for."""
        if self.permitted_stamp == self.newest_stamp:
            return 'an image'
        stamps = {'action': self.action_stamp}
        if reward_enabled:
            stamps['steps_to_go'] = self.prediction_stamp
        names = [name for name, stamp in stamps.items() if stamp != self.newest_stamp]
        if len(names) == len(stamps):  # without an image there is no answer either
            names = ['an image', *names]
        return ' and '.join(names)


def ending_without_recording(ending: EpisodeEnding, reason: str) -> EpisodeEnding:
    """Return the ending of an episode whose recording failed: a fault, whatever it showed."""
    return replace(
        ending,
        outcome=Outcome.UNLABELLED,
        termination=Termination.FAULT,
        detail=f'{ending.detail}; recording failed: {reason}'.lstrip('; '),
    )
