"""Stage 2 at the simulated table in one process: the cell that most experiments vary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from efm_core.episode import Episode, Kind, Termination
from efm_experiments.config import (
    ExperimentConfig,
    make_tables,
    PRACTICE_SCENES,
    SCENES_PER_SEED,
    TRAIN_DOMAIN,
)
from efm_experiments.learners.baselines import make_learner
from efm_experiments.table.evaluation import (
    evaluate_before_practice,
    evaluate_policy,
    make_policy_and_reward,
    mean_steps,
    success_rate,
    success_values,
)
from efm_experiments.table.sft_cache import make_model_pair, ModelPair, timed
from efm_sim.rollout import rollout
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from efm_trainer.reinforce import is_enough, Reinforce
import numpy as np

AfterUpdate = Callable[[ExperimentConfig, list[Episode], int], ExperimentConfig]


def keep_config(config: ExperimentConfig, episodes: list[Episode], done: int) -> ExperimentConfig:
    """Return the configuration unchanged."""
    return config


def run_cell(config: ExperimentConfig, seed: int) -> dict[str, Any]:
    """Return the values of both stages with one seed, and the processor time of each part [s]."""
    models = make_model_pair(config, seed)
    seconds = dict(models.seconds)
    values: dict[str, Any] = {**evaluate_before_practice(config, models, seed, seconds)}
    if config.practice:
        with timed(seconds, 'practice'):
            models, practised = practise(config, models, seed)
        episodes = evaluate_policy(config, models, seed)
        values |= practised | success_values(episodes, config, 'after')
    return values | {f'seconds_{name}': round(value, 1) for name, value in seconds.items()}


def practise(
    config: ExperimentConfig,
    models: ModelPair,
    seed: int,
    after_update: AfterUpdate = keep_config,
    domain: TableConfig = TRAIN_DOMAIN,
) -> tuple[ModelPair, dict[str, list[Any]]]:
    """
    Run stage 2 from ``models``, which stay unchanged; return the new models and the log.

    :param after_update: receives the configuration, the episodes of the update and the number of
        episodes so far; returns the configuration to continue with. It may train the reward model
        in place.
    :param domain: the world of practice, except for the configuration's body.
    """
    models = ModelPair(deepcopy(models.policy), models.reward, seconds=models.seconds)
    learner = make_learner(config, models.policy, models.reward)
    done = 0
    log: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    waiting: list[Episode] = []
    while done < config.practice:
        count = min(config.episodes_per_update, config.practice - done)
        waiting += run_episodes(config, models, seed, done, count, 1 + len(log), domain)
        before = done
        done += count
        if is_enough(waiting, config.practice_config):
            log.append(learn_and_log(waiting, learner, done))
            config = after_update(config, waiting, done)
            waiting = []
        if any(before < at <= done for at in config.curve):
            curve.append(evaluate_checkpoint(config, models, seed, done, domain))
    columns = {name: [entry[name] for entry in log] for name in (log[0] if log else ())}
    points = {name: [entry[name] for entry in curve] for name in (curve[0] if curve else ())}
    return models, {f'practice_{name}': column for name, column in columns.items()} | points


def run_episodes(
    config: ExperimentConfig,
    models: ModelPair,
    seed: int,
    done: int,
    count: int,
    version: int,
    domain: TableConfig = TRAIN_DOMAIN,
) -> list[Episode]:
    """
    Return ``count`` practice episodes.

    :param done: practice episodes before these.
    :param version: of the policy.
    """
    policy, reward_model = make_policy_and_reward(config, models, version, config.temperature)
    tables = make_tables(config.num_worlds, config.body, 'train', domain)
    first = (PRACTICE_SCENES + seed * SCENES_PER_SEED) * config.group_size + done
    return rollout(
        [RepeatedScenes(table, config.group_size) for table in tables],
        policy,
        reward_model if config.practice_end == 'detector' else None,
        range(first, first + count),
        config.embodiment,
        Kind.PRACTICE,
        first_index=done,
    )


class RepeatedScenes:
    """A table on which ``size`` consecutive seeds have the same scene."""

    def __init__(self, table: Table, size: int):
        self._table = table
        self._size = size
        self.instruction = ''
        self.step = table.step
        self.images = table.images
        self.state = table.state
        self.terminated = table.terminated
        self.success = table.success

    def reset(self, seed: int) -> None:
        """Set up the scene of the group of ``seed``."""
        self._table.reset(seed // self._size)
        self.instruction = self._table.instruction


def learn_and_log(episodes: list[Episode], learner: Reinforce, done: int) -> dict[str, Any]:
    """Learn from ``episodes``; return the log entry of the update."""
    found = learner.update(episodes)
    return {
        'episodes': done,
        'steps': sum(map(len, episodes)),
        'detected': finite_mean([e.termination is Termination.SUCCESS_DETECTED for e in episodes]),
        'true': finite_mean([bool(e.true_success) for e in episodes]),
        'last_steps_to_go': finite_mean([e.steps_to_go[-1] for e in episodes]),
        'entropy': round(found['entropy'], 3),
    }


def evaluate_checkpoint(
    config: ExperimentConfig,
    models: ModelPair,
    seed: int,
    done: int,
    domain: TableConfig = TRAIN_DOMAIN,
) -> dict[str, Any]:
    """
    Return one point of the learning curve, by the simulator's state.

    ``curve_halves`` holds the success at the even and at the odd scenes.

    :param done: practice episodes so far.
    """
    tables = make_tables(config.num_worlds, config.body, config.split, domain)
    episodes = evaluate_policy(config, models, seed, config.curve_evaluations, tables)
    values = success_values(episodes, config, 'curve')
    found = values['reached_curve']
    return {
        'curve_episodes': done,
        'curve_success': success_rate(found, config.max_steps),
        'curve_halves': [success_rate(found[first::2], config.max_steps) for first in (0, 1)],
        'curve_steps': mean_steps(found, config.max_steps),
        'curve_reached': found,
        'curve_fired': values['fired_curve'],
        'curve_right': values['right_curve'],
    }


def finite_mean(numbers: Sequence[float]) -> float:
    """Return the mean of the finite numbers, rounded to four digits; 0 if there are none."""
    values = np.asarray(numbers, np.float64)
    values = values[np.isfinite(values)]
    return round(float(values.mean()), 4) if len(values) else 0.0
