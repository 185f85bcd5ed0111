"""Evaluation of a policy by the simulator's state: the source of every success figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, KW_ONLY
import json
from typing import Any, Protocol

from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.episode_rules import first_detection
from efm_core.files import write_whole
from efm_evaluation.metrics import is_self_stopped
from efm_experiments.caches import cache, fingerprint
from efm_experiments.config import (
    EVALUATION_SCENES,
    ExperimentConfig,
    make_tables,
    SCENES_PER_SEED,
    text_encoder,
)
from efm_experiments.experiment import digest, SOURCES
from efm_experiments.table.sft_cache import ModelPair, sft_recipes, SftRecipe, timed
from efm_model.torch_runtime import make_runtimes
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.rollout import PolicyActor, Runner, RunningEpisode
from efm_sim.world import World
from filelock import FileLock
import numpy as np

STEPS_AFTER_GOAL = 6  # observations after a late goal in which the detector may fire
NEVER = -1


class Trace(Protocol):
    """What a success figure needs of an episode."""

    @property
    def steps_to_go(self) -> np.ndarray:
        """Return d at every observation, ``(T + 1,)`` float32 [steps]."""

    @property
    def true_success_per_step(self) -> np.ndarray | None:
        """Return the simulator's success at every observation, ``(T + 1,)`` bool."""


@dataclass(frozen=True)
class StoredTrace:
    """
    The part of an evaluation episode that is cached on disk.

    :param steps_to_go: d at every observation, ``(T + 1,)`` float32 [steps].
    :param true_success_per_step: the simulator's success, ``(T + 1,)`` bool.
    """

    steps_to_go: np.ndarray
    true_success_per_step: np.ndarray


@dataclass(frozen=True)
class EvaluationRecipe:
    """Everything that determines the evaluation of stage 1 with one seed."""

    sft: tuple[SftRecipe, ...]
    seed: int
    _: KW_ONLY
    body: str
    split: str
    max_steps: int
    evaluation_max_steps: int
    evaluations: int


def evaluate_before_practice(
    config: ExperimentConfig, models: ModelPair, seed: int, seconds: dict[str, float]
) -> dict[str, list[int]]:
    """
    Return the success values of stage 1, from disk if another cell has the same stage 1.

    :param seconds: receives the processor time of the evaluation [s].
    """
    names = ('body', 'split', 'max_steps', 'evaluation_max_steps', 'evaluations')
    values = {name: getattr(config, name) for name in names}
    recipe = EvaluationRecipe(sft_recipes(config, seed), seed, **values)
    path = cache() / 'evaluations' / f'{digest(recipe)}-{fingerprint(*SOURCES)}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix('.lock')):
        if not path.is_file():
            spent: dict[str, float] = {}
            with timed(spent, 'evaluation'):
                episodes = evaluate_policy(config, models, seed)
            plain = [
                [episode.steps_to_go.tolist(), true_success(episode).tolist()]
                for episode in episodes
            ]
            write_whole(path, json.dumps({**spent, 'episodes': plain}))
        found = json.loads(path.read_text())
    seconds['evaluation'] = found['evaluation']
    traces = [StoredTrace(np.array(d), np.array(truth)) for d, truth in found['episodes']]
    return success_values(traces, config, 'before')


class EvaluationRunner(Runner):
    """Continues each episode after its goal, so that the detector may fire."""

    def __init__(self, least: int, *arguments: Any, **options: Any):
        """
        Configure the runner.

        :param least: steps before which no goal ends an episode, so that self-stopped success
            within this time is complete; all other arguments as ``Runner``.
        """
        super().__init__(*arguments, **options)
        self._least = least

    def _ending(
        self, episode: RunningEpisode, success: bool
    ) -> tuple[Outcome, Termination] | None:
        """Return how the episode ends now, or None if it continues."""
        since = len(episode.truth) - episode.truth.index(True) if any(episode.truth) else 0
        if since > STEPS_AFTER_GOAL and len(episode.actions) >= self._least:
            return Outcome.SUCCESS, Termination.STOPPED
        return super()._ending(episode, success)


def evaluate_policy(
    config: ExperimentConfig,
    models: ModelPair,
    seed: int,
    count: int = 0,
    tables: Sequence[World] = (),
) -> list[Episode]:
    """
    Return episodes at the evaluation scenes of a seed, which are the same for every cell.

    An episode ends some steps after its goal, but not before the time limit of practice, or at
    the longest time limit. Success within a shorter limit follows from the same episodes.

    :param count: episodes; 0 for the configuration's number.
    :param tables: worlds to use instead of the configuration's own.
    """
    first = EVALUATION_SCENES + seed * SCENES_PER_SEED
    policy, reward_model = make_policy_and_reward(config, models)
    runner = EvaluationRunner(
        config.max_steps,
        config.embodiment,
        PolicyActor(policy),
        reward_model=reward_model,
        kind=Kind.EVALUATION,
        max_steps=config.evaluation_max_steps,
        on_episode=lambda episode: None,
        detector_ends_episode=False,
    )
    tables = tables or make_tables(config.num_worlds, config.body, config.split)
    return runner.run(tables, range(first, first + (count or config.evaluations)), 0)


def make_policy_and_reward(
    config: ExperimentConfig, models: ModelPair, version: int = 1, temperature: float = 1.0
) -> tuple[Policy, RewardModel]:
    """
    Return policy and reward model that use the current weights of ``models``.

    :param version: of the policy.
    :param temperature: of the action sampling.
    """
    policy, reward = make_runtimes(models.policy, models.reward, version=version)
    robot = config.embodiment
    encoder = text_encoder()
    return (
        Policy(policy, encoder, embodiment=robot, temperature=temperature),
        RewardModel(reward, encoder, embodiment=robot),
    )


def success_values(
    episodes: Sequence[Trace], config: ExperimentConfig, phase: str
) -> dict[str, list[int]]:
    """
    Return the steps to the goal and to the detection of each episode, and the truth there.

    ``reached`` and ``fired`` are -1 where there is no goal or no detection; ``right`` is 1 where
    the goal is reached at the detection.

    :param phase: suffix of the value names, such as 'before' or 'after' practice.
    """
    rules = config.embodiment.episode
    fired = [first_detection(episode.steps_to_go, rules) for episode in episodes]
    right = [
        is_self_stopped(true_success(episode), at)
        for episode, at in zip(episodes, fired, strict=True)
    ]
    return {
        f'reached_{phase}': [reached_at(episode) for episode in episodes],
        f'fired_{phase}': [NEVER if at is None else at for at in fired],
        f'right_{phase}': [int(hit) for hit in right],
    }


def true_success(episode: Trace) -> np.ndarray:
    """
    Return the simulator's success at every observation, ``(T + 1,)`` bool.

    :raises ValueError: when the episode does not have it.
    """
    if episode.true_success_per_step is None:
        raise ValueError("episode: expected the simulator's success at every step, got none")
    return episode.true_success_per_step


def reached_at(episode: Trace) -> int:
    """Return the steps after which the goal was first reached, or -1."""
    truth = true_success(episode)
    return int(np.argmax(truth)) if truth.any() else NEVER


def true_steps_to_go(episode: Episode) -> np.ndarray:
    """Return the true steps to the goal, ``(T + 1,)`` [steps]; infinite if it is not reached."""
    at = reached_at(episode)
    return (at if at >= 0 else np.inf) - np.arange(len(episode) + 1.0)


def success_rate(reached: Sequence[int], limit: int) -> float:
    """
    Return the share of episodes that reached the goal within ``limit`` steps.

    :param reached: of each episode the steps after which it reached the goal, or -1.
    """
    at = np.asarray(reached)
    return float(np.mean((at != NEVER) & (at <= limit)))


def self_stopped_rate(fired: Sequence[int], right: Sequence[int], limit: int) -> float:
    """
    Return the share of episodes that the detector stops at their goal within ``limit`` steps.

    :param fired: of each episode the steps after which its detector fired, or -1.
    :param right: whether the goal is reached at the detection.
    """
    return success_rate(np.where(np.asarray(right, bool), fired, NEVER).tolist(), limit)


def mean_steps(reached: Sequence[int], limit: int) -> float:
    """Return the mean steps of an episode that ends at the goal or after ``limit`` steps."""
    at = np.asarray(reached)
    return float(np.where((at == NEVER) | (at > limit), limit, at).mean())
