"""Stage 1 at the table, trained once for each set of demonstrations and kept on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, KW_ONLY, replace
import json
from pathlib import Path
import time

from efm_core.embodiment import Embodiment
from efm_core.files import whole_directory
from efm_experiments.caches import cache, fingerprint
from efm_experiments.config import Setting, table_robot, text_encoder
from efm_experiments.experiment import digest
from efm_experiments.learners.baselines import Pessimist
from efm_experiments.table.demonstrations import demonstrations
from efm_model.checkpoint import load_checkpoint
from efm_model.network import CompactModel
from efm_trainer.config import SftConfig
from efm_trainer.sft import fine_tune
from filelock import FileLock

ANOTHER = 1000  # between the seeds of two members of an ensemble


@dataclass(frozen=True)
class StageOne:
    """Everything that fixes what stage 1 learns; ``scenes`` is the demonstrations' seed."""

    demonstrations: int
    scenes: int
    _: KW_ONLY
    body: str
    robot: Embodiment
    fine_tuning: SftConfig


@dataclass(frozen=True)
class Team:
    """Policy and reward model, with the seconds of a core that they took."""

    policy: CompactModel
    reward: CompactModel
    _: KW_ONLY
    seconds: dict[str, float]


def make_team(setting: Setting, seed: int) -> Team:
    """Return policy and reward model of stage 1; they share nothing but what they began with."""
    policy_origin, *reward_origins = origins(setting, seed)
    policy, _, seconds = checkpoint(policy_origin)
    rewards = [checkpoint(origin)[1] for origin in reward_origins]
    return Team(policy, rewards[0] if len(rewards) == 1 else Pessimist(rewards), seconds=seconds)


def origins(setting: Setting, seed: int) -> tuple[StageOne, ...]:
    """Return where the policy comes from, then where each reward model does."""
    members = range(setting.ensemble)
    rewards = (stage_one(setting, setting.reward_pretrained, seed, member) for member in members)
    return stage_one(setting, setting.pretrained, seed, 0), *rewards


def stage_one(setting: Setting, pretrained: str, seed: int, member: int) -> StageOne:
    """Return what stage 1 of a setting is; the rules of practice are none of its business."""
    rules = table_robot().episode
    return StageOne(
        demonstrations=setting.demonstrations,
        scenes=seed,
        body=setting.body,
        robot=replace(setting.embodiment, episode=rules),
        fine_tuning=SftConfig(
            iterations=setting.iterations, pretrained=pretrained, seed=seed + ANOTHER * member
        ),
    )


def checkpoint(stage: StageOne) -> tuple[CompactModel, CompactModel, dict[str, float]]:
    """Return policy, reward model, and the seconds of each part when they were made."""
    sources = fingerprint('efm_sim', 'efm_model', 'efm_trainer')
    folder = cache() / 'stage_one' / f'{digest(stage)}-{sources}'
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix('.lock')):
        if not folder.is_dir():
            train(stage, folder)
    policy, reward = (load_checkpoint(folder / k, stage.robot)[0] for k in ('policy', 'reward'))
    return policy, reward, json.loads((folder / 'seconds.json').read_text())


def train(stage: StageOne, folder: Path) -> None:
    """Collect, fine-tune and put the result into ``folder``; whole or not at all."""
    seconds = {}
    with whole_directory(folder) as unfinished:
        with timed(seconds, 'demonstrations'):
            made = demonstrations(stage.demonstrations, stage.scenes, stage.body, stage.robot)
        with timed(seconds, 'fine_tuning'):
            fine_tune(made, stage.robot, text_encoder(), stage.fine_tuning, unfinished)
        (unfinished / 'seconds.json').write_text(json.dumps(seconds))


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how much of a core the body takes [s]; waiting for others does not count."""
    began = time.process_time()
    yield
    seconds[name] = time.process_time() - began
