"""
Assigns episodes to the robots of a fleet, without ROS.

Each episode has an index, and the index gives the seed. So it does not matter which robot runs
which episode. Practice runs in rollouts: after each, the fleet waits until the trainer has
ingested every episode and has published a release. So practice is on-policy, and a run with a seed
is repeatable whatever the timing of the robots.
"""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.episode import EpisodeGoal, Outcome, Termination
from efm_core.episode_rules import is_void
from efm_supervisor.config import FleetConfig

LONGEST_REST_S = 30.0  # of a robot after a fault; the first rest is 2 s, the next ones longer


@dataclass(frozen=True)
class TrainerProgress:
    """
    The newest status of the trainer.

    :param version: newest release.
    :param episodes: practice episodes ingested so far, over all runs of the trainer.
    """

    version: int
    episodes: int


class Fleet:
    """
    Assigns goals to robots and counts their results.

    :param first_index: index of the first episode; earlier runs used the ones below.
    :param finished: requested episodes that an interrupted run has finished, if it is resumed:
        the other ones below ``first_index`` are run first. None: all requested episodes are new.
    :ivar finished: episodes that ended without a fault.
    :ivar counted: finished episodes that count towards ``config.episodes``.
    :ivar faults_in_a_row: faults since the last finished episode.
    """

    def __init__(
        self, config: FleetConfig, first_index: int = 0, *, finished: set[int] | None = None
    ):
        self._config = config
        self._next_index = first_index
        self._rollout_end = first_index
        self._running: set[str] = set()
        self._retries: list[int] = []
        if finished is not None:
            below = range(min(first_index, config.episodes))
            self._retries = [index for index in below if index not in finished]
        self._tries = dict.fromkeys(self._retries, 1)
        self._faults: dict[str, int] = {}
        self._resting: dict[str, float] = {}
        self._trainer: TrainerProgress | None = None
        self._expected_episodes = 0
        self.finished = 0
        self.counted = len(finished or ())
        self.faults_in_a_row = 0

    @property
    def is_done(self) -> bool:
        """Whether all episodes are finished, and the trainer has used them if it is awaited."""
        if self._running or self._retries:
            return False
        return self.counted >= self._config.episodes and (
            not self._config.wait_for_trainer or self._is_trainer_ready
        )

    @property
    def has_failed(self) -> bool:
        """Whether too many episodes in a row ended with a fault."""
        return self.faults_in_a_row >= self._config.max_consecutive_faults

    def next_goal(self, robot: str, now: float) -> EpisodeGoal | None:
        """
        Return the next goal for ``robot``, or None while it has to wait.

        :param now: time [s] of a clock that never stops.
        """
        is_resting = now < self._resting.get(robot, now)
        if robot in self._running or is_resting or self.has_failed:
            return None
        index = self._pop_index()
        if index is None:
            return None
        self._running.add(robot)
        tries = self._tries.get(index, 0) + 1
        self._tries[index] = tries
        kind = self._config.kind
        return EpisodeGoal(
            episode_id=f'{kind}-{index:06d}' + (f'-{tries}' if tries > 1 else ''),
            index=index,
            kind=kind,
            seed=self._config.seed + index,
            max_steps=self._config.max_steps,
            policy_version=self._policy_version,
        )

    def on_result(
        self,
        robot: str,
        index: int,
        *,
        outcome: str,
        termination: str,
        recorded: bool,
        now: float,
    ) -> None:
        """
        Count the result of an episode. A void one is tried again with the same seed.

        A person's stop is no fault, however many robots it stops. After a fault the robot rests,
        longer each time: what failed may be starting again.

        :param outcome: value of ``Outcome``.
        :param termination: value of ``Termination``.
        :param recorded: whether the episode has a bag, which the trainer will ingest.
        :param now: time [s] of a clock that never stops.
        """
        self._running.discard(robot)
        is_fault = termination == Termination.FAULT.value
        self._faults[robot] = self._faults.get(robot, 0) + 1 if is_fault else 0
        if is_fault:
            self._resting[robot] = now + min(2.0 ** self._faults[robot], LONGEST_REST_S)
        if self._trainer is not None and recorded:
            self._expected_episodes += 1
        if is_void(outcome, termination):
            self.faults_in_a_row += is_fault
            self._retries.append(index)
            return
        self.faults_in_a_row = 0
        self.finished += 1
        self.counted += not self._config.only_successes or outcome == Outcome.SUCCESS.value

    def on_refusal(self, robot: str, index: int) -> None:
        """Take back an episode that the robot rejected: it is paused or stopped."""
        self._running.discard(robot)
        self._tries[index] -= 1
        self._retries.append(index)

    def on_trainer(self, progress: TrainerProgress) -> None:
        """Note the newest status of the trainer."""
        if self._trainer is None:
            self._expected_episodes = progress.episodes
        self._trainer = progress

    @property
    def _policy_version(self) -> int:
        if self._config.wait_for_trainer and self._trainer is not None:
            return self._trainer.version
        return self._config.policy_version

    @property
    def _is_trainer_ready(self) -> bool:
        trainer = self._trainer
        return trainer is not None and trainer.episodes >= self._expected_episodes

    def _pop_index(self) -> int | None:
        """Return the index of the next episode, or None while there is none to run."""
        if self._retries:
            return self._retries.pop(0)
        if self._next_index >= self._rollout_end and not self._open_rollout():
            return None
        self._next_index += 1
        return self._next_index - 1

    def _open_rollout(self) -> bool:
        """Open the next rollout if the last one is finished and the trainer has used it."""
        remaining = self._config.episodes - self.counted
        if self._config.wait_for_trainer:
            if self._running or not self._is_trainer_ready:
                return False
            size = min(remaining, self._config.episodes_per_rollout)
        else:
            size = remaining - len(self._running)
        self._rollout_end += max(size, 0)
        return size > 0
