"""
Who does which episode next, over a whole fleet; without ROS.

Episodes are numbered and the number gives the seed, so that it does not matter which robot runs
which. Practice goes in rollouts: after each, the fleet waits until the trainer has taken in every
episode and has published what it learned. So every episode is on-policy, and a run with a seed is
repeatable whatever the timing of the robots.
"""

from __future__ import annotations

from dataclasses import dataclass

from efm_supervisor.config import FleetConfig
from efm_supervisor.supervisor import Goal


@dataclass(frozen=True)
class TrainerProgress:
    """
    What the trainer last said.

    :param episodes: practice episodes it has taken in, ever.
    """

    version: int
    episodes: int


class Fleet:
    """
    Hands out goals and counts what comes back.

    :param first_index: number of the first episode; those before it were run earlier.
    """

    def __init__(self, config: FleetConfig, first_index: int = 0):
        self._config = config
        self._next_index = self._rollout_end = first_index
        self._running: set[str] = set()
        self._retries: list[int] = []
        self._attempts: dict[int, int] = {}
        self._trainer: TrainerProgress | None = None
        self._expected_episodes: int | None = None
        self.counted = self.finished = self.faults_in_a_row = 0

    @property
    def is_done(self) -> bool:
        """Whether everything asked for has come back, and has been learned from."""
        if self._running or self._retries:
            return False
        return self.counted >= self._config.episodes and (
            not self._config.wait_for_trainer or self._is_trainer_ready
        )

    @property
    def has_failed(self) -> bool:
        """Whether nothing but faults comes back."""
        return self.faults_in_a_row >= self._config.max_consecutive_faults

    def next_goal(self, robot: str) -> Goal | None:
        """Return what ``robot`` shall do now, or None while it has to wait."""
        if robot in self._running or self.has_failed:
            return None
        index = self._next()
        if index is None:
            return None
        self._running.add(robot)
        attempt = self._attempts[index] = self._attempts.get(index, 0) + 1
        kind = self._config.kind
        return Goal(
            episode_id=f'{kind}-{index:06d}' + (f'-{attempt}' if attempt > 1 else ''),
            index=index,
            kind=kind,
            seed=self._config.seed + index,
            max_steps=self._config.max_steps,
            policy_version=self._version,
        )

    def on_result(
        self, robot: str, index: int, outcome: str, termination: str, recorded: bool
    ) -> None:
        """Count an episode that came back; one that broke is tried again, with the same seed."""
        self._running.discard(robot)
        if self._expected_episodes is not None and recorded:
            self._expected_episodes += 1
        if termination == 'fault':
            self.faults_in_a_row += 1
            self._retries.append(index)
            return
        self.faults_in_a_row = 0
        self.finished += 1
        self.counted += not self._config.only_successes or outcome == 'success'

    def on_refusal(self, robot: str, index: int) -> None:
        """Take back an episode that a robot would not begin now: it is paused, or stopped."""
        self._running.discard(robot)
        self._attempts[index] -= 1
        self._retries.append(index)

    def on_trainer(self, view: TrainerProgress) -> None:
        """Take the trainer's word on how far it is."""
        if self._expected_episodes is None:
            self._expected_episodes = view.episodes
        self._trainer = view

    @property
    def _version(self) -> int:
        return (
            self._trainer.version if self._config.wait_for_trainer else self._config.policy_version
        )

    @property
    def _is_trainer_ready(self) -> bool:
        view = self._trainer
        return view is not None and view.episodes >= self._expected_episodes

    def _next(self) -> int | None:
        """Return the number of the next episode, or None while there is none to be had."""
        if self._retries:
            return self._retries.pop(0)
        if self._next_index >= self._rollout_end and not self._open_rollout():
            return None
        self._next_index += 1
        return self._next_index - 1

    def _open_rollout(self) -> bool:
        """Begin the next rollout if the one before is done, and learned from."""
        left = self._config.episodes - self.counted
        if self._config.wait_for_trainer:
            if self._running or not self._is_trainer_ready:
                return False
            size = min(left, self._config.episodes_per_rollout)
        else:
            size = left - len(self._running)
        self._rollout_end += max(size, 0)
        return size > 0
