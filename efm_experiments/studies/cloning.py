"""How good cloning alone gets: the baseline, trained until it gets no better."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.table import practice
from efm_experiments.table.examination import reached_at
from efm_experiments.table.report import COMMON, plot_bars, success_table, time_table
from efm_experiments.table.setting import EVALUATION, SEEDS, Setting, TINY, worlds
from efm_sim.rollout import demonstrate
from matplotlib.figure import Figure

ABOUT = f"""
Behaviour cloning alone, at several sizes of data and numbers of optimiser steps. It was run before
any practice that is reported here, and it fixes the task and the length of stage 1 for all that
follows: a baseline that was trained too short, or that only lacks time, would flatter practice.

The time limit of 60 steps is that of the demonstrations: each of them succeeded within it. Who has
more time has more success, so other limits are shown too; and the demonstrator itself, failures
included, at the same scenes.
{COMMON}"""


@dataclass(frozen=True)
class Demonstrator:
    """The one who is cloned."""

    setting: Setting


@dataclass(frozen=True)
class CloningConfig:
    """Sizes, lengths, and all else."""

    sizes: tuple[int, ...] = (400, 800, 3200)
    iterations: tuple[int, ...] = (6000, 12000)
    setting: Setting = field(default_factory=lambda: Setting(practice=0))


def cells(config: CloningConfig) -> dict[str, Demonstrator | Setting]:
    """Return the demonstrator, and every size with every length."""
    return {'demonstrator': Demonstrator(config.setting)} | {
        f'{size} demonstrations, {length} steps': replace(
            config.setting, demonstrations=size, iterations=length
        )
        for size in config.sizes
        for length in config.iterations
    }


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
    smoke=CloningConfig((4,), (3,), replace(TINY, practice=0)),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
