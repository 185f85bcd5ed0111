"""Stage 1 at the table, trained once for each set of demonstrations and cached on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, KW_ONLY, replace
import json
from pathlib import Path
import time
from typing import cast

from efm_core.embodiment import Embodiment
from efm_core.files import whole_directory
from efm_experiments.caches import cache, fingerprint
from efm_experiments.config import ExperimentConfig, table_robot, text_encoder
from efm_experiments.experiment import digest
from efm_experiments.learners.baselines import RewardEnsemble
from efm_experiments.table.demonstrations import demonstrations
from efm_model.checkpoint import load_checkpoint
from efm_model.network import GroundingModel
from efm_trainer.config import SftConfig
from efm_trainer.sft import fine_tune
from filelock import FileLock

MEMBER_SEED_STRIDE = 1000  # between the seeds of two members of an ensemble


@dataclass(frozen=True)
class SftRecipe:
    """Everything that determines a result of stage 1; ``scenes`` is the demonstrations' seed."""

    demonstrations: int
    scenes: int
    _: KW_ONLY
    body: str
    robot: Embodiment
    fine_tuning: SftConfig


@dataclass(frozen=True)
class ModelPair:
    """
    A policy and a reward model.

    :param seconds: processor time of each part of stage 1 [s].
    """

    policy: GroundingModel
    reward: GroundingModel
    _: KW_ONLY
    seconds: dict[str, float]


def make_model_pair(config: ExperimentConfig, seed: int) -> ModelPair:
    """Return policy and reward model of stage 1; they share initial weights only."""
    policy_recipe, *reward_recipes = sft_recipes(config, seed)
    policy, _, seconds = load_or_train(policy_recipe)
    rewards = [load_or_train(recipe)[1] for recipe in reward_recipes]
    reward = rewards[0] if len(rewards) == 1 else RewardEnsemble(rewards).as_model()
    return ModelPair(policy, reward, seconds=seconds)


def sft_recipes(config: ExperimentConfig, seed: int) -> tuple[SftRecipe, ...]:
    """Return the recipe of the policy, then the recipe of each reward model."""
    members = range(config.ensemble_size)
    rewards = (sft_recipe(config, config.reward_pretrained, seed, member) for member in members)
    return sft_recipe(config, config.pretrained, seed, 0), *rewards


def sft_recipe(config: ExperimentConfig, pretrained: str, seed: int, member: int) -> SftRecipe:
    """Return the recipe of stage 1; it does not depend on the episode rules of practice."""
    rules = table_robot().episode
    return SftRecipe(
        demonstrations=config.demonstrations,
        scenes=seed,
        body=config.body,
        robot=replace(config.embodiment, episode=rules),
        fine_tuning=SftConfig(
            iterations=config.iterations,
            pretrained=pretrained,
            seed=seed + MEMBER_SEED_STRIDE * member,
        ),
    )


def load_or_train(recipe: SftRecipe) -> tuple[GroundingModel, GroundingModel, dict[str, float]]:
    """Return policy, reward model, and the processor time of each part of stage 1 [s]."""
    sources = fingerprint('efm_sim', 'efm_model', 'efm_trainer')
    folder = cache() / 'stage_one' / f'{digest(recipe)}-{sources}'
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix('.lock')):
        if not folder.is_dir():
            train(recipe, folder)
    policy, reward = (
        cast(GroundingModel, load_checkpoint(folder / kind, recipe.robot)[0])
        for kind in ('policy', 'reward')
    )
    return policy, reward, json.loads((folder / 'seconds.json').read_text())


def train(recipe: SftRecipe, folder: Path) -> None:
    """Collect demonstrations, fine-tune, and write the result into ``folder``."""
    seconds: dict[str, float] = {}
    with whole_directory(folder) as unfinished:
        with timed(seconds, 'demonstrations'):
            made = demonstrations(recipe.demonstrations, recipe.scenes, recipe.body, recipe.robot)
        with timed(seconds, 'fine_tuning'):
            fine_tune(made, recipe.robot, text_encoder(), recipe.fine_tuning, unfinished)
        (unfinished / 'seconds.json').write_text(json.dumps(seconds))


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note the processor time of the body in ``seconds`` [s]."""
    began = time.process_time()
    yield
    seconds[name] = time.process_time() - began
