"""Stage 2 on Meta-World, and one cell with both stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from efm_core.episode import Episode, Outcome
from efm_core.observation import Observation
from efm_experiments.config import PRACTICE_SCENES, text_encoder
from efm_experiments.learners.baselines import SparseOracleReward
from efm_experiments.learners.mixed_cloning import MixedCloning
from efm_experiments.metaworld.config import (
    CLONING,
    limits_of,
    make_worlds,
    MetaWorldCell,
    NONE,
    scenes_of,
    TRUE_REWARD,
)
from efm_experiments.metaworld.evaluation import describe, evaluate, evaluate_before, OtherNoise
from efm_experiments.metaworld.stage_one import acting, demonstrations, load_or_train, Models
from efm_experiments.progress import report
from efm_experiments.table.sft_cache import timed
from efm_policy.policy import Policy
from efm_sim.rollout import rollout
from efm_trainer.config import PracticeConfig
from efm_trainer.reinforce import Reinforce
import numpy as np


def run_cell(cell: MetaWorldCell, seed: int) -> dict[str, Any]:
    """Return evaluations before and after practice, and what practice saw."""
    models = load_or_train(cell.stage_one, seed)
    seconds = dict(models.seconds)
    with timed(seconds, 'evaluation_before'):
        values: dict[str, Any] = {**evaluate_before(cell, models, seed)}
    models = models.copy()
    if cell.practice:
        with timed(seconds, 'practice'):
            values |= practise(cell, models, seed)
    if cell.practice or cell.method == NONE:
        noise = OtherNoise if cell.method == NONE else Policy
        with timed(seconds, 'evaluation_after'):
            values |= evaluate(cell, models, seed, 'after', noise)
    values |= {f'seconds_{name}': round(value, 1) for name, value in seconds.items()}
    rules = models.robot.episode
    return {**values, 'threshold': rules.success_threshold, 'dwell': rules.success_dwell}


def practise(cell: MetaWorldCell, models: Models, seed: int) -> dict[str, list[int]]:
    """
    Practise all tasks in turn, which changes the policy of ``models``.

    :return: of each task and episode, whether it counted as a success and whether its goal was
        reached at its end, by the simulator.
    """
    tasks = cell.stage_one.tasks
    learner = make_learner(cell, models, seed)
    scenes = scenes_of(PRACTICE_SCENES, seed, tasks, cell.practice)
    worlds = make_worlds(tasks, cell.episodes_per_update)
    finished: list[Episode] = []
    for done in range(0, len(scenes), cell.episodes_per_update):
        policy, reward_model = acting(models, 1 + done // cell.episodes_per_update)
        episodes = rollout(
            worlds,
            policy,
            None if cell.method == TRUE_REWARD else reward_model,
            scenes[done : done + cell.episodes_per_update],
            models.robot,
            first_index=done,
            max_steps=limits_of(tasks),
        )
        learner.update(episodes)
        finished += map(without_images, episodes)
        report(f'practice, {describe(finished, len(scenes))}')
    models.policy.load_state_dict(learner.deployed.state_dict())
    return practice_columns(finished, tasks)


def make_learner(cell: MetaWorldCell, models: Models, seed: int) -> Reinforce:
    """Return the learner of a cell's method."""
    options: dict[str, Any] = {
        'text_encoder': text_encoder(),
        'scale': models.robot.steps_to_go,
        'config': PracticeConfig(episodes_per_update=cell.episodes_per_update, seed=seed),
    }
    if cell.method == CLONING:
        options['demonstrations'] = demonstrations(cell.stage_one, seed)
        return MixedCloning(models.policy, models.reward, **options)
    learner = SparseOracleReward if cell.method == TRUE_REWARD else Reinforce
    return learner(models.policy, models.reward, **options)


def practice_columns(finished: Sequence[Episode], tasks: Sequence[str]) -> dict[str, list[int]]:
    """Return for each episode of each task whether it counted as success, and the truth."""
    found: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        own = finished[index :: len(tasks)]
        found[f'practice_fired_{task}'] = [int(e.outcome is Outcome.SUCCESS) for e in own]
        found[f'practice_true_{task}'] = [int(bool(e.true_success)) for e in own]
    return found


def without_images(episode: Episode) -> Episode:
    """Return an episode without what takes its memory."""
    seen = episode.observations
    empty = Observation.of(np.zeros((len(seen), 0, 0, 3), np.uint8))
    return replace(episode, observations=empty)
