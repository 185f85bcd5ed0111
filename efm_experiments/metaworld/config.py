"""What one cell of an experiment on Meta-World consists of, its robot and its worlds."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
import functools

from efm_core.embodiment import Embodiment, load_embodiment, load_simulation
from efm_core.embodiment_files import find_embodiment
from efm_experiments.config import EVALUATION_SCENES, SCENES_PER_SEED
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.world import GymnasiumWorld

ROBOT = 'metaworld_mt10'
NEW_TASK = 'faucet-open-v3'  # of the package, not one of the ten; chosen before any run
SENTENCES = {NEW_TASK: 'open the faucet'}
# Time limits [decisions]: 95 % of the demonstrator's successes within 90 decisions are not longer.
# Of scenes 0 to 999, 100 for each task; of the new task, those of seeds 0 to 99.
LIMITS = {
    'reach-v3': 41,
    'push-v3': 68,
    'pick-place-v3': 38,
    'door-open-v3': 69,
    'drawer-open-v3': 69,
    'drawer-close-v3': 42,
    'button-press-topdown-v3': 37,
    'peg-insert-side-v3': 71,
    'window-open-v3': 47,
    'window-close-v3': 43,
    NEW_TASK: 37,
}
TEN = tuple(task for task in LIMITS if task != NEW_TASK)
LABELLED_SCENES = EVALUATION_SCENES + 1_000_000_000
WORLDS = 10  # at the same time; their number does not change a result
OWN_REWARD = 'own reward'
TRUE_REWARD = 'true sparse reward'
CLONING = 'filtered cloning with demonstrations'
NONE = 'none'
SHARED = 'shared'
SEPARATE = 'separate'
METHODS = (OWN_REWARD, TRUE_REWARD, CLONING, NONE)
# Code that the values depend on. Changes of other experiments leave finished cells valid.
SOURCES = (
    'efm_core',
    'efm_evaluation/metrics.py',
    'efm_experiments/config.py',
    'efm_experiments/episode_files.py',
    'efm_experiments/learners',
    'efm_experiments/metaworld',
    'efm_model',
    'efm_policy',
    'efm_reward',
    'efm_sim',
    'efm_trainer',
)


@dataclass(frozen=True)
class StageOne:
    """
    Everything that determines stage 1, apart from the seed.

    :param tasks: names in the package.
    :param demonstrations: successful demonstrations of each task.
    :param iterations: optimiser steps.
    :param start: stage 1 whose policy this one begins with; None for random weights.
    :param labels: labelled attempts of each task; they need a separate reward model.
    :param reward: ``SHARED``, the network of the policy, or ``SEPARATE``, one of its own without
        proprioception. The policy is the same.
    """

    tasks: tuple[str, ...] = TEN
    demonstrations: int = 25
    _: KW_ONLY
    iterations: int = 4000
    start: StageOne | None = None
    labels: int = 0
    reward: str = SHARED

    @property
    def of_policy(self) -> StageOne:
        """The stage 1 whose policy this one has."""
        return replace(self, labels=0, reward=SHARED)


@dataclass(frozen=True)
class MetaWorldCell:
    """
    One variant of both stages.

    :param method: of stage 2, one of ``METHODS``.
    :param practice: practice episodes of each task.
    :param evaluations: evaluation scenes of each task.
    :param episodes_per_update: practice episodes of one update, of all tasks together.
    """

    stage_one: StageOne = field(default_factory=StageOne)
    method: str = OWN_REWARD
    _: KW_ONLY
    practice: int = 100
    evaluations: int = 50
    episodes_per_update: int = 20


@functools.cache
def load_robot() -> Embodiment:
    """Return the robot of all tasks."""
    return load_embodiment(find_embodiment(ROBOT))


def sentences_of(tasks: tuple[str, ...]) -> dict[str, str]:
    """Return the instruction of each task."""
    shipped = load_simulation(find_embodiment(ROBOT), EnvironmentConfig).kwargs['tasks']
    return {task: {**shipped, **SENTENCES}[task] for task in tasks}


def limits_of(tasks: tuple[str, ...]) -> dict[str, int]:
    """Return the time limit of each instruction [decisions]."""
    return {sentence: LIMITS[task] for task, sentence in sentences_of(tasks).items()}


def make_worlds(tasks: tuple[str, ...], count: int) -> list[GymnasiumWorld]:
    """
    Return ``count`` worlds of some tasks, but ``WORLDS`` at most.

    A process creates each world once and uses it again.
    """
    worlds = _cached_worlds(tasks)
    wanted = min(count, WORLDS)
    config = load_simulation(find_embodiment(ROBOT), EnvironmentConfig)
    config = replace(config, kwargs={'tasks': sentences_of(tasks)})
    worlds += [GymnasiumWorld(config, load_robot()) for _ in range(len(worlds), wanted)]
    return worlds[:wanted]


@functools.cache
def _cached_worlds(tasks: tuple[str, ...]) -> list[GymnasiumWorld]:
    """Return the list that holds the worlds of some tasks."""
    return []


def scenes_of(purpose: int, seed: int, tasks: tuple[str, ...], count: int) -> range:
    """
    Return the scenes of a seed, one task after the other.

    :param purpose: first scene of seed 0, such as ``PRACTICE_SCENES``.
    :param count: scenes of each task.
    """
    first = (purpose + seed * SCENES_PER_SEED) * len(tasks)
    return range(first, first + count * len(tasks))
