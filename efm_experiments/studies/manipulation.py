"""Manipulation with a gripper, from pixels: both stages on tasks of Meta-World."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from pathlib import Path
import tempfile
from typing import Any

from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.embodiment_files import find_embodiment
from efm_core.episode import Episode, Kind, Outcome
from efm_core.episode_rules import first_detection
from efm_evaluation.intervals import Estimate, over_episodes
from efm_evaluation.metrics import is_self_stopped
from efm_experiments.config import (
    DEMONSTRATION_SCENES,
    EVALUATION_SCENES,
    PRACTICE_SCENES,
    SCENES_PER_SEED,
    text_encoder,
)
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.plots import axes_of, bars
from efm_experiments.table.sft_cache import timed
from efm_model.checkpoint import load_checkpoint
from efm_model.protocol import Model
from efm_model.torch_runtime import make_runtimes
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.gym.world import GymnasiumWorld
from efm_sim.rollout import demonstrate, rollout
from efm_sim.worlds import GYM, make_world
from efm_trainer.config import PracticeConfig, STAGE_ONE
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
from matplotlib.figure import Figure
import numpy as np

NEVER = -1
TASKS = ('button_press_topdown', 'drawer_open', 'push', 'pick_place')
LIMITS = (0.6, 0.8, 1.0)  # of the embodiment's time limit
WORLDS = 10  # environments at the same time; their number does not change a result
ABOUT = """
One `visuomotor` policy for each task, from the demonstrations of a scripted policy alone: images
of 64 px of two cameras, the place of the hand and the opening of the gripper. No position of an
object and no label is used. The detector's threshold s is the one that stage 1 proposes, from
held-out demonstrations alone, before any attempt of the robot. *Reached* is the simulator's
success at any observation within the limit. *Self-stopped* is its success at the observation at
which the robot's own detector ends the episode; a time-out counts as a failure. Intervals are
Wilson's over the evaluation scenes of all seeds.

Practice runs on every task, also where the detector is often wrong after stage 1. This shows what
practice does there.
"""


@dataclass(frozen=True)
class ManipulationCell:
    """
    One task.

    :param task: last part of the embodiment's name.
    :param image_size: height and width of each camera's image as the policy sees it [px].
    :param iterations: optimiser steps of stage 1.
    """

    task: str
    demonstrations: int = 100
    _: KW_ONLY
    image_size: int = 64
    iterations: int = 2000
    practice: int = 200
    evaluations: int = 100

    @property
    def robot(self) -> str:
        """The name of the embodiment."""
        return f'metaworld_{self.task}'

    def load(self) -> Embodiment:
        """Return the embodiment with the image size of this cell."""
        size = (self.image_size, self.image_size)
        return replace(load_embodiment(find_embodiment(self.robot)), observation_size=size)


@dataclass(frozen=True)
class ManipulationConfig:
    """All tasks, with the sizes that they share."""

    tasks: tuple[str, ...] = TASKS
    base: ManipulationCell = field(default_factory=lambda: ManipulationCell(''))


@dataclass(frozen=True)
class Pair:
    """
    Policy and reward model of one task.

    :param threshold: s that stage 1 proposes [steps].
    """

    policy: Model
    reward: Model
    _: KW_ONLY
    threshold: float


def cells(config: ManipulationConfig) -> dict[str, ManipulationCell]:
    """Return one cell for each task."""
    return {task: replace(config.base, task=task) for task in config.tasks}


def run_cell(cell: ManipulationCell, seed: int) -> dict[str, Any]:
    """Return where each evaluation episode reached its goal and where the detector fired."""
    seconds: dict[str, float] = {}
    robot = cell.load()
    worlds = make_worlds(cell.robot, min(WORLDS, cell.evaluations))
    with timed(seconds, 'demonstrations'):
        episodes = collect(cell, worlds, robot, seed)
    with timed(seconds, 'fine_tuning'):
        models = stage_one(cell, episodes, robot, seed)
    robot = replace(robot, episode=replace(robot.episode, success_threshold=models.threshold))
    with timed(seconds, 'evaluation'):
        values = evaluate(cell, worlds, robot, models, seed, 'before')
    with timed(seconds, 'practice'):
        log = practise(cell, worlds, robot, models, seed)
    values |= evaluate(cell, worlds, robot, models, seed, 'after')
    for world in worlds:
        world.close()
    rules = {'max_steps': robot.episode.max_steps, 'threshold': models.threshold}
    return {**values, **log, **rules, **{f'seconds_{k}': round(v, 1) for k, v in seconds.items()}}


def make_worlds(robot: str, count: int) -> list[GymnasiumWorld]:
    """Return worlds of a robot."""
    found = []
    for _ in range(count):
        world = make_world(robot, GYM)
        assert isinstance(world, GymnasiumWorld)
        found.append(world)
    return found


def collect(
    cell: ManipulationCell, worlds: list[GymnasiumWorld], robot: Embodiment, seed: int
) -> list[Episode]:
    """Return the first successful demonstrations that are not longer than the last bin."""
    first = DEMONSTRATION_SCENES + seed * SCENES_PER_SEED
    longest = robot.steps_to_go.max_steps
    found: list[Episode] = []
    while len(found) < cell.demonstrations:
        count = max(len(worlds), cell.demonstrations - len(found))
        made = demonstrate(
            worlds,
            range(first, first + count),
            robot,
            max_steps=longest,
            demonstrator=worlds[0].demonstrator,
        )
        found += [episode for episode in made if episode.outcome is Outcome.SUCCESS]
        first += count
    return found[: cell.demonstrations]


def stage_one(
    cell: ManipulationCell, episodes: list[Episode], robot: Embodiment, seed: int
) -> Pair:
    """Return policy and reward model after stage 1."""
    config = replace(
        STAGE_ONE['visuomotor'],
        iterations=cell.iterations,
        seed=seed,
        reward_network='shared',
        second_reward=False,
    )
    with tempfile.TemporaryDirectory() as name:
        found = fine_tune(episodes, robot, text_encoder(), config, name, family='visuomotor')
        policy, reward = (
            load_checkpoint(Path(name) / kind, robot)[0] for kind in ('policy', 'reward')
        )
    return Pair(policy, reward, threshold=found.detector.proposed.threshold)


def acting(models: Pair, robot: Embodiment, version: int) -> tuple[Policy, RewardModel]:
    """Return what runs the present weights of two models."""
    policy, reward = make_runtimes(models.policy, models.reward, version=version)
    return (
        Policy(policy, text_encoder(), embodiment=robot),
        RewardModel(reward, text_encoder(), embodiment=robot),
    )


def evaluate(
    cell: ManipulationCell,
    worlds: list[GymnasiumWorld],
    robot: Embodiment,
    models: Pair,
    seed: int,
    phase: str,
) -> dict[str, list[int]]:
    """
    Return for each scene the step of the goal, of the detection, and the truth at the detection.

    The scenes are the same before and after practice. No detection ends an episode here.
    """
    first = EVALUATION_SCENES + seed * SCENES_PER_SEED
    policy, reward_model = acting(models, robot, 1)
    episodes = rollout(
        worlds,
        policy,
        reward_model,
        range(first, first + cell.evaluations),
        robot,
        Kind.EVALUATION,
        detector_ends_episode=False,
    )
    reached = []
    fired = []
    right = []
    for episode in episodes:
        truth = np.asarray(episode.true_success_per_step, bool)
        at = first_detection(episode.steps_to_go, robot.episode)
        reached.append(int(truth.argmax()) if truth.any() else NEVER)
        fired.append(NEVER if at is None else at)
        right.append(int(is_self_stopped(truth, at)))
    return {f'reached_{phase}': reached, f'fired_{phase}': fired, f'right_{phase}': right}


def practise(
    cell: ManipulationCell,
    worlds: list[GymnasiumWorld],
    robot: Embodiment,
    models: Pair,
    seed: int,
) -> dict[str, list[float]]:
    """Run stage 2 on the robot's own reward; change the policy; return what each update saw."""
    config = PracticeConfig(episodes_per_update=min(10, max(1, cell.practice)), seed=seed)
    learner = Reinforce(
        models.policy,
        models.reward,
        text_encoder=text_encoder(),
        scale=robot.steps_to_go,
        config=config,
    )
    first = PRACTICE_SCENES + seed * SCENES_PER_SEED
    log: dict[str, list[float]] = {'practice_fired': [], 'practice_true': []}
    for done in range(0, cell.practice, config.episodes_per_update):
        count = min(config.episodes_per_update, cell.practice - done)
        deployed = replace(models, policy=learner.deployed)
        policy, reward_model = acting(deployed, robot, 1 + done // config.episodes_per_update)
        scenes = range(first + done, first + done + count)
        episodes = rollout(worlds, policy, reward_model, scenes, robot, first_index=done)
        log['practice_fired'].append(
            float(np.mean([e.outcome is Outcome.SUCCESS for e in episodes]))
        )
        log['practice_true'].append(float(np.mean([bool(e.true_success) for e in episodes])))
        learner.update(episodes)
    models.policy.load_state_dict(learner.deployed.state_dict())
    return log


def reached_within(results: Results, cell: str, phase: str, part: float) -> Estimate:
    """Return the reached success within a part of the time limit, over all scenes and seeds."""
    hits = [
        0 <= at <= part * record.values['max_steps']
        for record in results.of(cell)
        for at in record.values[f'reached_{phase}']
    ]
    return over_episodes(hits)


def self_stopped(results: Results, cell: str, phase: str) -> Estimate:
    """Return the success at which the detector stops the robot, over all scenes and seeds."""
    return over_episodes([hit for run in results.values(cell, f'right_{phase}') for hit in run])


def summarise(results: Results) -> list[ResultTable]:
    """Return success and the detector, before and after practice."""
    success = []
    detector = []
    for cell in results.cells:
        for phase in ('before', 'after'):
            parts = [reached_within(results, cell, phase, part).text(100) for part in LIMITS]
            stopped = self_stopped(results, cell, phase).text(100)
            success.append([cell, phase, stopped, *parts])
            detector.append([cell, phase, *detector_cells(results, cell, phase)])
    limits = (f'reached within {part:.0%} of the limit [%]' for part in LIMITS)
    return [
        ResultTable('Success', ('task', 'practice', 'self-stopped [%]', *limits), rows=success),
        ResultTable(
            'Success detector',
            ('task', 'practice', 's [steps]', 'fired [%]', 'precision [%]', 'recall [%]'),
            rows=detector,
        ),
    ]


def detector_cells(results: Results, cell: str, phase: str) -> list[str]:
    """Return s, how often the detector fired, its precision and its recall, as text."""
    fired = np.concatenate(results.values(cell, f'fired_{phase}')) != NEVER
    right = np.concatenate(results.values(cell, f'right_{phase}')).astype(bool)
    reached = np.concatenate(results.values(cell, f'reached_{phase}')) != NEVER
    chosen = ', '.join(f'{s:g}' for s in sorted(set(results.values(cell, 'threshold'))))
    rates = (over_episodes(fired), over_episodes(right[fired]), over_episodes(right[reached]))
    return [chosen, *(rate.text(100) if rate.count else '-' for rate in rates)]


def plot(results: Results) -> dict[str, Figure]:
    """Draw the self-stopped success of every task, before and after practice."""
    figure, axes = axes_of(2)
    for one, phase in zip(axes, ('before', 'after'), strict=True):
        bars(one, {cell: self_stopped(results, cell, phase) for cell in results.cells})
        one.set(title=f'{phase} practice', xlabel='self-stopped [%]', xlim=(0, 109))
    return {'success': figure}


EXPERIMENT = Experiment(
    name='manipulation',
    title='Manipulation from pixels',
    about=ABOUT,
    config=ManipulationConfig(),
    smoke=ManipulationConfig(
        TASKS[:1], ManipulationCell('', 3, iterations=2, practice=2, evaluations=2)
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
