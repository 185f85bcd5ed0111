"""Reward models on manipulation: shared with the policy, apart from it, and with labels."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace

from efm_evaluation.intervals import Estimate, over_episodes
from efm_experiments.experiment import Experiment, Record, Results, ResultTable
from efm_experiments.metaworld.config import MetaWorldCell, SEPARATE, SHARED, SOURCES, StageOne
from efm_experiments.metaworld.practice import run_cell
from efm_experiments.plots import axes_of, bars
from matplotlib.figure import Figure
import numpy as np

TASKS = ('button-press-topdown-v3', 'drawer-open-v3', 'push-v3', 'pick-place-v3')
PUSH = 'push-v3'
PHASES = ('before', 'after')
LABELS = 40  # in every task
OTHER_LABELS = (20, 100)  # in push
ABOUT = f"""
One policy for each task, from 100 demonstrations and 2,000 optimiser steps: images of 64 px of two
cameras, the place of the hand and the opening of the gripper. Then 200 practice episodes. Cells of
one task and seed have the same policy before practice, and differ in the reward model:

- `{SHARED}`: the network of the policy. It sees the proprioception.
- `{SEPARATE}`: a network of its own without proprioception, from demonstrations alone.
- `N labels`: the same, which also learns from attempts of the policy before practice. The
  simulator stands for the person who marks the first observation at the goal, or "never". Half of
  the attempts are held out; they choose s and dwell.

Without labels, s is the one with the best F1 on held-out demonstrations. Demonstrations have
bursts of noise, which behaviour cloning leaves out. The time limit of a task is the 95th
percentile of the demonstrator's successes. *False success* is the share of all episodes in which
the detector fires away from the goal. Intervals are Wilson's over the evaluation scenes of all
seeds. Practice runs in every cell, also where the gate of `efm practice` would refuse.
"""


@dataclass(frozen=True)
class LabelsConfig:
    """The sizes of all cells."""

    base: MetaWorldCell = field(
        default_factory=lambda: MetaWorldCell(
            StageOne((PUSH,), 100, iterations=2000),
            practice=200,
            evaluations=100,
            episodes_per_update=10,
        )
    )
    tasks: tuple[str, ...] = TASKS
    _: KW_ONLY
    labels: int = LABELS
    other_labels: tuple[int, ...] = OTHER_LABELS


def cells(config: LabelsConfig) -> dict[str, MetaWorldCell]:
    """Return each task with each reward model, then push with other numbers of labels."""
    base = config.base.stage_one
    recipes = [
        replace(base, tasks=(task,), reward=reward, labels=labels)
        for reward, labels in ((SHARED, 0), (SEPARATE, config.labels), (SEPARATE, 0))
        for task in config.tasks
    ]
    recipes += [replace(base, reward=SEPARATE, labels=labels) for labels in config.other_labels]
    return {cell_name(recipe): replace(config.base, stage_one=recipe) for recipe in recipes}


def cell_name(recipe: StageOne) -> str:
    """Return the name of a cell: its task and its reward model."""
    reward = f'{recipe.labels} labels' if recipe.labels else recipe.reward
    return f'{recipe.tasks[0].removesuffix("-v3")}, {reward}'


def steps(results: Results, cell: str, name: str, phase: str) -> np.ndarray:
    """
    Return a column of all seeds, ``(N,)`` int64.

    :param name: ``reached``, ``fired``: step of the event, or -1; ``right``: 0 or 1.
    """
    return np.concatenate([column(record, name, phase) for record in results.of(cell)])


def column(record: Record, name: str, phase: str) -> np.ndarray:
    """Return a column of one seed, ``(N,)`` int64; arguments as ``steps``."""
    (task,) = record.config['stage_one']['tasks']
    return np.array(record.values[f'{name}_{phase}_{task}'])


def self_stopped(results: Results, cell: str, phase: str) -> Estimate:
    """Return the self-stopped success over all scenes and seeds."""
    return over_episodes(steps(results, cell, 'right', phase) > 0)


def detector(results: Results, cell: str, phase: str) -> dict[str, Estimate]:
    """Return how often the detector fired, its precision, its recall and false successes."""
    fired = steps(results, cell, 'fired', phase) >= 0
    right = steps(results, cell, 'right', phase) > 0
    reached = steps(results, cell, 'reached', phase) >= 0
    return {
        'fired': over_episodes(fired),
        'precision': over_episodes(right[fired]),
        'recall': over_episodes(right[reached]),
        'false success': over_episodes(fired & ~right),
    }


def summarise(results: Results) -> list[ResultTable]:
    """Return success and the detector of every cell, before and after practice."""
    success = []
    rates = []
    for cell in results.cells:
        for phase in PHASES:
            reached = over_episodes(steps(results, cell, 'reached', phase) >= 0)
            stopped = self_stopped(results, cell, phase)
            success.append([cell, phase, stopped.text(100), reached.text(100)])
            found = detector(results, cell, phase).values()
            texts = [one.text(100) if one.count else '-' for one in found]
            rates.append([cell, phase, chosen(results, cell), *texts])
    return [
        ResultTable(
            'Success', ('cell', 'practice', 'self-stopped [%]', 'reached [%]'), rows=success
        ),
        ResultTable(
            'Success detector',
            (
                'cell',
                'practice',
                's [steps], dwell',
                'fired [%]',
                'precision [%]',
                'recall [%]',
                'false success [%]',
            ),
            rows=rates,
        ),
    ]


def chosen(results: Results, cell: str) -> str:
    """Return the thresholds and dwells of the seeds as text."""
    pairs = zip(results.values(cell, 'threshold'), results.values(cell, 'dwell'), strict=True)
    return ', '.join(f'{s:g} / {dwell}' for s, dwell in sorted(set(pairs)))


def plot(results: Results) -> dict[str, Figure]:
    """Draw the self-stopped success of every cell, before and after practice."""
    figure, axes = axes_of(2)
    figure.set_figheight(5.5)
    for one, phase in zip(axes, PHASES, strict=True):
        bars(one, {cell: self_stopped(results, cell, phase) for cell in results.cells})
        one.set(title=f'{phase} practice', xlabel='self-stopped [%]', xlim=(0, 109))
    return {'success': figure}


TINY = MetaWorldCell(StageOne((PUSH,), 2, iterations=2), practice=2, evaluations=2)
EXPERIMENT = Experiment(
    name='labels',
    title='Reward models for manipulation',
    about=ABOUT,
    config=LabelsConfig(),
    smoke=LabelsConfig(TINY, TASKS[2:3], labels=3, other_labels=(4,)),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
    sources=SOURCES,
)
