"""Demonstrations against practice (Fig. 3): from three sizes of data, both stages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_evaluation.intervals import over_seeds, paired_over_seeds, rate_over_seeds
from efm_experiments.config import Setting, TINY
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.plots import axes_of, band, COLOURS
from efm_experiments.table.evaluation import steps, success
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import (
    COMMON,
    curve_at,
    LIMIT,
    LIMITS,
    rates,
    success_table,
    time_table,
)
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
Stage 1 from 1, 2 and 8 parts of the same demonstrations, stage 2 from each; the number of
optimiser steps is the same for all. The question of the paper: is a tenth more episodes,
practised, worth more than eight times the demonstrations? Since cloning has reached its
demonstrator at the smallest size already, eight times the demonstrations are worth nothing here;
how much is left above them depends on the time limit, and much of the gain is speed.
{COMMON}"""


@dataclass(frozen=True)
class SampleEfficiencyConfig:
    """Sizes of the data, and all else."""

    sizes: tuple[int, ...] = (400, 800, 3200)
    setting: Setting = field(
        default_factory=lambda: Setting(practice=400, curve=(40, 80, 160, 320))
    )


def cells(config: SampleEfficiencyConfig) -> dict[str, Setting]:
    """Return one cell for each size."""
    return {
        f'{size} demonstrations': replace(config.setting, demonstrations=size)
        for size in config.sizes
    }


def size_of(results: Results, cell: str) -> int:
    """Return the number of demonstrations of a cell."""
    return results.of(cell)[0].config['demonstrations']


def summarise(results: Results) -> list[Table]:
    """Return success, and what a tenth more episodes of practice is worth."""
    table = success_table(results, 'Success before and after all practice')
    return [table, worth_table(results), time_table(results)]


def worth_table(results: Results) -> Table:
    """Return practice of about a tenth of the data against the largest data, at each limit."""
    largest = max(results.cells, key=lambda cell: size_of(results, cell))
    rows = []
    for cell in results.cells:
        extra, reached = about_a_tenth(results, cell)
        share = f'+{100 * extra / size_of(results, cell):.0f} % ({extra} episodes)'
        for limit in LIMITS:
            found = [success(run, limit) for run in reached]
            better = paired_over_seeds(found, rates(results, largest, 'before', limit))
            rows.append([cell, share, limit, rate_over_seeds(found).text(100), better.text(100)])
    head = ('', 'practice', 'limit [steps]', 'success [%]', f'minus cloning of {largest}')
    return Table('What about a tenth more episodes is worth (points)', head, rows=rows)


def about_a_tenth(results: Results, cell: str) -> tuple[int, list[list[int]]]:
    """Return the practice episodes nearest to a tenth of the data, and when goals were reached."""
    done = results.values(cell, 'curve_episodes')[0]
    at = min(range(len(done)), key=lambda k: abs(done[k] - size_of(results, cell) / 10))
    return done[at], [run[at] for run in results.values(cell, 'curve_reached')]


def headline(results: Results) -> Table:
    """Return the few numbers that the README quotes."""
    rows = []
    for cell in results.cells:
        extra, reached = about_a_tenth(results, cell)
        tenth = rate_over_seeds([success(run, LIMIT) for run in reached])
        before, after = (rate_over_seeds(rates(results, cell, w)) for w in ('before', 'after'))
        length = [
            f'{over_seeds([steps(run, LIMIT) for run in results.values(cell, name)]).mean:.0f}'
            for name in ('reached_before', 'reached_after')
        ]
        shown = (before.text(100), f'{tenth.text(100)} ({extra})', after.text(100))
        rows.append([size_of(results, cell), *shown, ' → '.join(length)])
    practised = results.of(results.cells[0])[0].config['practice']
    head = (
        'demonstrations',
        'cloned [%]',
        'practised a tenth more [%] (episodes)',
        f'after {practised} episodes [%]',
        'steps',
    )
    return Table(f'Success within {LIMIT} steps', head, rows=rows)


def plot(results: Results) -> dict[str, Figure]:
    """Draw success over all episodes used, at two time limits; cloning alone is dashed."""
    figure, axes = axes_of(2, 5.0)
    sizes = [size_of(results, cell) for cell in results.cells]
    for one, limit in zip(axes, LIMITS[:2], strict=True):
        for k, cell in enumerate(results.cells):
            done, runs = curve_at(results, cell, limit)
            x = [size_of(results, cell) + episodes for episodes in done]
            band(one, x, 100 * np.array(runs), f'{cell}, then practice', COLOURS[k])
        cloned = [np.mean(rates(results, cell, 'before', limit)) for cell in results.cells]
        one.plot(sizes, 100 * np.array(cloned), 'o--', color='#6b7280', label='cloning alone')
        one.set(xscale='log', ylim=(40, 102), title=f'within {limit} steps')
        one.set_xticks(sizes, sizes)
        one.minorticks_off()
        one.set(xlabel='episodes used: demonstrations and practice')
    axes[0].set_ylabel('success [%]')
    axes[1].legend(fontsize=8)
    return {'episodes': figure}


CONFIG = SampleEfficiencyConfig()
EXPERIMENT = Experiment(
    name='sample_efficiency',
    title='Sample efficiency',
    about=ABOUT,
    config=CONFIG,
    smoke=SampleEfficiencyConfig(sizes=(4, 8), setting=TINY),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
