"""Behaviour cloning alone, trained to convergence: the baseline."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from typing import Any

from efm_experiments.config import (
    EVALUATION_SCENES,
    ExperimentConfig,
    make_tables,
    SCENES_PER_SEED,
    TINY,
)
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.table import practice
from efm_experiments.table.evaluation import reached_at
from efm_experiments.table.report import COMMON, plot_bars, success_table, time_table
from efm_sim.rollout import demonstrate
from matplotlib.figure import Figure

ABOUT = f"""
Behaviour cloning alone, with several sizes of data and numbers of optimiser steps. This
experiment ran before all practice on this page. It fixes the task and the length of stage 1 for
all later experiments. A baseline with too little training or too little time would flatter
practice.

The demonstrations have a time limit of 60 steps, and each succeeded within it. Success grows
with the time limit, so that the table shows other limits too. The row `demonstrator` shows the
scripted demonstrator at the same scenes, failures included. Converged means here: as good as the
demonstrator by reached success. Four cloning runs on seed 0 chose data, steps and batch.

By self-stopped success the bounds of the sizes overlap: whether more demonstrations improve the
detector is not measured yet.
{COMMON}"""


@dataclass(frozen=True)
class DemonstratorCell:
    """The scripted demonstrator at the evaluation scenes."""

    base: ExperimentConfig


@dataclass(frozen=True)
class CloningConfig:
    """
    Sizes of the data.

    :param shorter: optimiser steps of a shorter training on the largest data.
    :param base: configuration that all cells share.
    """

    sizes: tuple[int, ...] = (400, 800, 3200)
    shorter: int = 6000
    _: KW_ONLY
    base: ExperimentConfig = field(default_factory=lambda: ExperimentConfig(practice=0))


def cells(config: CloningConfig) -> dict[str, DemonstratorCell | ExperimentConfig]:
    """Return the demonstrator, every size, and the largest size with a shorter training."""
    base = config.base
    largest = max(config.sizes)
    sizes = {f'{n} demonstrations': replace(base, demonstrations=n) for n in config.sizes}
    short = replace(base, demonstrations=largest, iterations=config.shorter)
    name = f'{largest} demonstrations, {config.shorter} steps'
    return {'demonstrator': DemonstratorCell(base), **sizes, name: short}


def run_cell(cell: DemonstratorCell | ExperimentConfig, seed: int) -> dict[str, Any]:
    """Return the steps after which each episode reached its goal."""
    if isinstance(cell, ExperimentConfig):
        return practice.run_cell(cell, seed)
    config = cell.base
    first = EVALUATION_SCENES + seed * SCENES_PER_SEED
    episodes = demonstrate(
        make_tables(config.num_worlds, config.body, config.split),
        range(first, first + config.evaluations),
        config.embodiment,
        max_steps=config.evaluation_max_steps,
    )
    return {'reached_before': [reached_at(episode) for episode in episodes]}


def summarise(results: Results) -> list[ResultTable]:
    """Return success and processor time."""
    return [success_table(results, 'Success of cloning'), time_table(results)]


def plot(results: Results) -> dict[str, Figure]:
    """Draw the reached success of every cell."""
    return {'success': plot_bars(results, 'before')}


EXPERIMENT = Experiment(
    name='cloning',
    title='Behaviour cloning alone',
    about=ABOUT,
    config=CloningConfig(),
    smoke=CloningConfig((4,), 2, base=replace(TINY, practice=0)),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
