"""How good cloning alone gets: the baseline, trained until it gets no better."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace

from efm_experiments.config import EVALUATION, SEEDS, Setting, TINY, worlds
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.table import practice
from efm_experiments.table.evaluation import reached_at
from efm_experiments.table.report import COMMON, plot_bars, success_table, time_table
from efm_sim.rollout import demonstrate
from matplotlib.figure import Figure

ABOUT = f"""
Behaviour cloning alone, at several sizes of data and numbers of optimiser steps. It was run before
any practice that is reported here, and it fixes the task and the length of stage 1 for all that
follows: a baseline that was trained too short, or that only lacks time, would flatter practice.

The time limit of 60 steps is that of the demonstrations: each of them succeeded within it. Who has
more time has more success, so other limits are shown too; and the demonstrator itself, failures
included, at the same scenes. Trained to convergence means here: as good as the demonstrator. Data,
steps and batch were chosen by four runs on seed 0, with cloning alone.
{COMMON}"""


@dataclass(frozen=True)
class Demonstrator:
    """The one who is cloned."""

    setting: Setting


@dataclass(frozen=True)
class CloningConfig:
    """Sizes, a shorter training of the largest, and all else."""

    sizes: tuple[int, ...] = (400, 800, 3200)
    shorter: int = 6000
    _: KW_ONLY
    setting: Setting = field(default_factory=lambda: Setting(practice=0))


def cells(config: CloningConfig) -> dict[str, Demonstrator | Setting]:
    """Return the demonstrator, every size, and the largest with a shorter training."""
    base = config.setting
    largest = max(config.sizes)
    sizes = {f'{n} demonstrations': replace(base, demonstrations=n) for n in config.sizes}
    short = replace(base, demonstrations=largest, iterations=config.shorter)
    name = f'{largest} demonstrations, {config.shorter} steps'
    return {'demonstrator': Demonstrator(base), **sizes, name: short}


def run_cell(cell: Demonstrator | Setting, seed: int) -> dict:
    """Return when each episode reached its goal."""
    if isinstance(cell, Setting):
        return practice.run_cell(cell, seed)
    setting = cell.setting
    first = EVALUATION + seed * SEEDS
    episodes = demonstrate(
        worlds(setting.worlds, setting.body, setting.split),
        range(first, first + setting.evaluations),
        setting.embodiment,
        max_steps=setting.longest,
    )
    return {'reached_before': [reached_at(episode) for episode in episodes]}


def summarise(results: Results) -> list[Table]:
    """Return success of cloning."""
    return [success_table(results, 'Success of cloning'), time_table(results)]


def plot(results: Results) -> dict[str, Figure]:
    """Draw success of every cell."""
    return {'success': plot_bars(results, 'before')}


EXPERIMENT = Experiment(
    name='cloning',
    title='Cloning alone',
    about=ABOUT,
    config=CloningConfig(),
    smoke=CloningConfig((4,), 2, setting=replace(TINY, practice=0)),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
