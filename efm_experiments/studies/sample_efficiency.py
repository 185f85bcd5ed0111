"""Practice against more demonstrations, at three sizes of data (the paper's Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_evaluation.intervals import over_seeds, paired_over_seeds, rate_over_seeds
from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.plots import axes_of, band, COLOURS
from efm_experiments.table.evaluation import mean_steps, success_rate
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import (
    COMMON,
    curve_at,
    LIMIT,
    LIMITS,
    self_stopped_rates,
    success_rates,
    success_table,
    time_table,
)
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
Stage 1 uses 1, 2 and 8 parts of the same demonstrations with equal optimiser steps. Stage 2
starts from each. The paper asks whether a tenth more episodes of practice is worth more than
eight times the demonstrations.

**Result.** Practice raises reached and self-stopped success at every size. By reached success
the smallest data already equal the demonstrator, so that more demonstrations add nothing; what
remains above depends on the time limit, and a tenth more episodes mainly brings speed. By
self-stopped success more demonstrations help, because they improve the reward model. Against the
largest data without practice, the smallest data with practice are then not significantly better.

The table of a tenth more episodes compares the checkpoint at 150 scenes with cloning at 300.
{COMMON}"""


@dataclass(frozen=True)
class SampleEfficiencyConfig:
    """
    Sizes of the data.

    :param sizes: demonstrations of each cell.
    :param base: configuration that all cells share.
    """

    sizes: tuple[int, ...] = (400, 800, 3200)
    base: ExperimentConfig = field(
        default_factory=lambda: ExperimentConfig(practice=400, curve=(40, 80, 160, 320))
    )


def cells(config: SampleEfficiencyConfig) -> dict[str, ExperimentConfig]:
    """Return one cell for each size."""
    return {
        f'{size} demonstrations': replace(config.base, demonstrations=size)
        for size in config.sizes
    }


def size_of(results: Results, cell: str) -> int:
    """Return the number of demonstrations of a cell."""
    return results.of(cell)[0].config['demonstrations']


def largest_cell(results: Results) -> str:
    """Return the cell with the most demonstrations."""
    return max(results.cells, key=lambda cell: size_of(results, cell))


def summarise(results: Results) -> list[ResultTable]:
    """Return success, practice against demonstrations, and processor time."""
    return [
        success_table(results, 'Success before and after all practice'),
        against_table(results),
        tenth_table(results),
        time_table(results),
    ]


def against_table(results: Results) -> ResultTable:
    """Return practice and more demonstrations minus cloning of the smallest and largest data."""
    smallest = min(results.cells, key=lambda cell: size_of(results, cell))
    largest = largest_cell(results)
    rows = []
    for title, one, other in (
        (
            f'{largest}, cloned, minus {smallest}, cloned',
            (largest, 'before'),
            (smallest, 'before'),
        ),
        (
            f'{smallest}, practised, minus {largest}, cloned',
            (smallest, 'after'),
            (largest, 'before'),
        ),
    ):
        differences = [
            paired_over_seeds(rates(results, *one), rates(results, *other)).text(100)
            for rates in (success_rates, self_stopped_rates)
        ]
        rows.append([title, *differences])
    header = ('difference', 'reached [points]', 'self-stopped [points]')
    caption = f'Practice against more demonstrations: success within {LIMIT} steps'
    return ResultTable(caption, header, rows=rows)


def tenth_table(results: Results) -> ResultTable:
    """Return practice of about a tenth of the data against the largest data, at each limit."""
    largest = largest_cell(results)
    rows = []
    for cell in results.cells:
        extra, reached = after_a_tenth(results, cell)
        share = f'+{100 * extra / size_of(results, cell):.0f} % ({extra} episodes)'
        for limit in LIMITS:
            found = [success_rate(run, limit) for run in reached]
            better = paired_over_seeds(found, success_rates(results, largest, 'before', limit))
            rows.append([cell, share, limit, rate_over_seeds(found).text(100), better.text(100)])
    header = (
        'cell',
        'practice',
        'time limit [steps]',
        'reached [%]',
        f'reached, minus {largest}, cloned [points]',
    )
    return ResultTable('Practice with about a tenth more episodes', header, rows=rows)


def after_a_tenth(results: Results, cell: str) -> tuple[int, list[list[int]]]:
    """Return the checkpoint nearest to a tenth of the data, and when its goals were reached."""
    done = results.values(cell, 'curve_episodes')[0]
    at = min(range(len(done)), key=lambda k: abs(done[k] - size_of(results, cell) / 10))
    return done[at], [run[at] for run in results.values(cell, 'curve_reached')]


def headline(results: Results) -> ResultTable:
    """Return the table that the README quotes."""
    rows = []
    for cell in results.cells:
        extra, reached = after_a_tenth(results, cell)
        tenth = rate_over_seeds([success_rate(run, LIMIT) for run in reached])
        before, after = (
            rate_over_seeds(success_rates(results, cell, phase)) for phase in ('before', 'after')
        )
        steps = [
            over_seeds([mean_steps(run, LIMIT) for run in results.values(cell, name)])
            for name in ('reached_before', 'reached_after')
        ]
        shown = (before.text(100), f'{tenth.text(100)} ({extra})', after.text(100))
        length = ' → '.join(f'{estimate.mean:.0f}' for estimate in steps)
        rows.append([size_of(results, cell), *shown, length])
    practised = results.of(results.cells[0])[0].config['practice']
    header = (
        'demonstrations',
        'cloned [%]',
        'after about 10 % practice [%] (episodes)',
        f'after {practised} practice episodes [%]',
        'mean steps, before → after',
    )
    return ResultTable(f'Reached success within {LIMIT} steps', header, rows=rows)


def plot(results: Results) -> dict[str, Figure]:
    """Draw reached success over all episodes used, at two time limits; cloning is dashed."""
    figure, axes = axes_of(2, 5.0)
    sizes = [size_of(results, cell) for cell in results.cells]
    for one, limit in zip(axes, LIMITS[:2], strict=True):
        for k, cell in enumerate(results.cells):
            done, runs = curve_at(results, cell, limit)
            x = [size_of(results, cell) + episodes for episodes in done]
            band(one, x, 100 * np.array(runs), f'{cell}, then practice', COLOURS[k])
        cloned = [np.mean(success_rates(results, c, 'before', limit)) for c in results.cells]
        one.plot(sizes, 100 * np.array(cloned), 'o--', color='#6b7280', label='cloning alone')
        one.set(xscale='log', ylim=(40, 102), title=f'within {limit} steps')
        one.set_xticks(sizes, [str(size) for size in sizes])
        one.minorticks_off()
        one.set(xlabel='episodes used: demonstrations and practice')
    axes[0].set_ylabel('reached [%]')
    axes[1].legend(fontsize=8)
    return {'episodes': figure}


CONFIG = SampleEfficiencyConfig()
EXPERIMENT = Experiment(
    name='sample_efficiency',
    title='Sample efficiency',
    about=ABOUT,
    config=CONFIG,
    smoke=SampleEfficiencyConfig(sizes=(4, 8), base=TINY),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
