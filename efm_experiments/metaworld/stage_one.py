"""Demonstrations and stage 1 on Meta-World, once for each seed, cached on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, KW_ONLY, replace
import json
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Outcome
from efm_core.files import whole_directory
from efm_data.labels import LabelledAttempt
from efm_experiments.caches import cache, fingerprint, name_of
from efm_experiments.config import DEMONSTRATION_SCENES, text_encoder
from efm_experiments.episode_files import load_demonstrations, save_demonstrations
from efm_experiments.metaworld.config import (
    LABELLED_SCENES,
    limits_of,
    load_robot,
    make_worlds,
    scenes_of,
    SEPARATE,
    SOURCES,
    StageOne,
)
from efm_experiments.progress import report
from efm_experiments.table.sft_cache import timed
from efm_model.checkpoint import load_checkpoint
from efm_model.protocol import Model
from efm_model.torch_runtime import make_runtimes
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.rollout import demonstrate, rollout
from efm_trainer.config import SftConfig, STAGE_ONE
from efm_trainer.detector import DetectorReport
from efm_trainer.sft import fine_tune, retrain_reward
from filelock import FileLock
import numpy as np

CHUNK = 25  # demonstrations of a file
SCENES_PER_CHUNK = 10_000
NOTES = 'stage_one.json'
VALIDATE_EVERY = 500  # optimiser steps; a validation takes as long as twenty of them


@dataclass(frozen=True)
class Models:
    """
    Policy and reward model after stage 1, and the robot with the threshold that stage 1 proposes.

    :param seconds: processor time of each part [s].
    """

    policy: Model
    reward: Model
    _: KW_ONLY
    robot: Embodiment
    seconds: dict[str, float]

    def copy(self) -> Models:
        """Return models of which practice may change the policy."""
        return replace(self, policy=deepcopy(self.policy))


def load_or_train(recipe: StageOne, seed: int) -> Models:
    """Return the models of stage 1, from disk if they are there."""
    folder = stage_one_folder(recipe, seed)
    with locked(folder):
        if not folder.is_dir():
            train(recipe, seed, folder)
    robot = load_robot()
    policy, reward = (load_checkpoint(folder / kind, robot)[0] for kind in ('policy', 'reward'))
    notes = json.loads((folder / NOTES).read_text())
    rules = replace(
        robot.episode, success_threshold=notes['threshold'], success_dwell=notes['dwell']
    )
    return Models(policy, reward, robot=replace(robot, episode=rules), seconds=notes['seconds'])


def stage_one_folder(recipe: StageOne, seed: int) -> Path:
    """Return the folder of stage 1; its name has all that the result depends on."""
    name = name_of(recipe, load_robot(), seed, fingerprint(*SOURCES))
    return cache() / 'metaworld' / 'stage_one' / name


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make a file or folder of the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f'{path.name}.lock')):
        yield


def train(recipe: StageOne, seed: int, folder: Path) -> None:
    """Collect demonstrations, fine-tune, and write the result into ``folder``."""
    seconds: dict[str, float] = {}
    is_separate = recipe.reward == SEPARATE
    needed = (recipe.start, recipe.of_policy if is_separate else None)
    for other in filter(None, needed):
        load_or_train(other, seed)
    with whole_directory(folder) as unfinished:
        with timed(seconds, 'demonstrations'):
            episodes = demonstrations(recipe, seed)
        with timed(seconds, 'fine_tuning'):
            fit = fit_reward if is_separate else fit_both
            proposed = fit(recipe, seed, episodes, unfinished).proposed
        notes = {'threshold': proposed.threshold, 'dwell': proposed.dwell, 'seconds': seconds}
        (unfinished / NOTES).write_text(json.dumps(notes))


def fit_both(recipe: StageOne, seed: int, episodes: list[Episode], folder: Path) -> DetectorReport:
    """Train policy and reward model into ``folder``; return the figures of the detector."""
    found = fine_tune(
        episodes,
        load_robot(),
        text_encoder(),
        sft_config(recipe, seed),
        folder,
        report_fine_tuning,
        load_or_train(recipe.start, seed).policy if recipe.start else None,
        'visuomotor',
    )
    return found.detector


def fit_reward(
    recipe: StageOne, seed: int, episodes: list[Episode], folder: Path
) -> DetectorReport:
    """Train a reward model apart from the policy, with labels; otherwise as ``fit_both``."""
    return retrain_reward(
        stage_one_folder(recipe.of_policy, seed) / 'policy',
        episodes,
        load_robot(),
        text_encoder(),
        sft_config(recipe, seed),
        folder,
        report_fine_tuning,
        attempts=labelled_attempts(recipe, seed),
    )


def sft_config(recipe: StageOne, seed: int) -> SftConfig:
    """Return the parameters of stage 1."""
    return replace(
        STAGE_ONE['visuomotor'],
        iterations=recipe.iterations,
        validate_every=VALIDATE_EVERY,
        reward_network='shared',
        second_reward=False,
        seed=seed,
    )


def report_fine_tuning(iteration: int, total: int, losses: dict[str, float]) -> None:
    """Report the progress of stage 1."""
    loss = losses['validation/steps_to_go']
    report(f'stage 1, step {iteration} of {total}, held-out loss of steps-to-go {loss:.2f} nats')


def demonstrations(recipe: StageOne, seed: int) -> list[Episode]:
    """Return the first successful demonstrations of each task; files are shared by all sizes."""
    chunks = range(-(-recipe.demonstrations // CHUNK))
    size = min(CHUNK, recipe.demonstrations)
    found = []
    for index, task in enumerate(recipe.tasks):
        report(f'demonstrations, {task}')
        shown = [one for k in chunks for one in load_or_collect(recipe, index, seed, k, size)]
        found += shown[: recipe.demonstrations]
    return found


def labelled_attempts(recipe: StageOne, seed: int) -> list[LabelledAttempt]:
    """
    Return attempts of the policy of stage 1 until the time limit, with labels.

    The simulator stands for the person who marks the observation at which the goal is reached.
    """
    if not recipe.labels:
        return []
    report('labelled attempts')
    models = load_or_train(recipe.of_policy, seed)
    policy, reward_model = acting(models, 1)
    scenes = scenes_of(LABELLED_SCENES, seed, recipe.tasks, recipe.labels)
    episodes = rollout(
        make_worlds(recipe.tasks, len(scenes)),
        policy,
        reward_model,
        scenes,
        models.robot,
        max_steps=limits_of(recipe.tasks),
        detector_ends_episode=False,
    )
    return [label(episode) for episode in episodes]


def label(episode: Episode) -> LabelledAttempt:
    """Return an episode with its first observation at the goal, by the simulator."""
    truth = np.asarray(episode.true_success_per_step, bool)
    return LabelledAttempt(episode, int(truth.argmax()) if truth.any() else None)


def acting(
    models: Models, version: int, policy_class: type[Policy] = Policy
) -> tuple[Policy, RewardModel]:
    """Return policy and reward model that run the present weights of ``models``."""
    policy, reward = make_runtimes(models.policy, models.reward, version=version)
    return (
        policy_class(policy, text_encoder(), embodiment=models.robot),
        RewardModel(reward, text_encoder(), embodiment=models.robot),
    )


def load_or_collect(
    recipe: StageOne, index: int, seed: int, chunk: int, size: int
) -> list[Episode]:
    """
    Return ``size`` demonstrations of one task, from disk if they are there.

    :param index: of the task among those of the recipe.
    """
    sources = fingerprint('efm_core', 'efm_sim')
    name = name_of(
        load_robot(), recipe.tasks[index], len(recipe.tasks), sources, seed, chunk, size
    )
    path = cache() / 'metaworld' / 'demonstrations' / f'{name}.npz'
    with locked(path):
        if not path.is_file():
            save_demonstrations(path, collect(recipe.tasks, index, seed, chunk, size))
        return load_demonstrations(path, load_robot())


def collect(tasks: tuple[str, ...], index: int, seed: int, chunk: int, size: int) -> list[Episode]:
    """Return the first ``size`` successes of the scripted demonstrator in a task."""
    robot = load_robot()
    scenes = scenes_of(
        DEMONSTRATION_SCENES + chunk * SCENES_PER_CHUNK, seed, tasks, SCENES_PER_CHUNK
    )
    waiting = iter(scenes[index :: len(tasks)])
    worlds = make_worlds(tasks, size)
    found: list[Episode] = []
    while len(found) < size:
        batch = [next(waiting) for _ in range(max(4, size - len(found)))]
        made = demonstrate(
            worlds,
            batch,
            robot,
            max_steps=robot.steps_to_go.max_steps,
            demonstrator=worlds[0].demonstrator,
        )
        found += [episode for episode in made if episode.outcome is Outcome.SUCCESS]
    return found[:size]
