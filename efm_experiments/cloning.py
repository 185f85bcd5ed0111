"""How good cloning alone gets: the baseline, trained until it gets no better."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.setting import Setting, TINY
from efm_experiments.table import run_cell
from efm_experiments.table_report import COMMON, plot_bars, success_table, time_table
from matplotlib.figure import Figure

ABOUT = f"""
Behaviour cloning alone, at several sizes of data and numbers of optimiser steps. It is run before
any practice, and it fixes the task and the length of stage 1 for all that follows: a baseline that
was trained too short, or that only lacks time, would flatter practice.
{COMMON}"""


@dataclass(frozen=True)
class CloningConfig:
    """Sizes, lengths, and all else."""

    sizes: tuple[int, ...] = (400, 800, 3200)
    iterations: tuple[int, ...] = (6000, 12000)
    longest: int = 24000  # with the most data only
    setting: Setting = field(default_factory=lambda: Setting(practice=0))


def cells(config: CloningConfig) -> dict[str, Setting]:
    """Return every size with every length, and one more for the largest size."""
    pairs = [(size, length) for size in config.sizes for length in config.iterations]
    return {
        f'{size} demonstrations, {length} steps': replace(
            config.setting, demonstrations=size, iterations=length
        )
        for size, length in [*pairs, (config.sizes[-1], config.longest)]
    }


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
    smoke=CloningConfig((4,), (3,), 4, replace(TINY, practice=0)),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
