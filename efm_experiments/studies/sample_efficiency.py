"""Practice against more demonstrations, at three sizes of data (the paper's Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_evaluation.intervals import over_seeds
from efm_experiments.config import ExperimentConfig, table_robot, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.plots import axes_of, band, COLOURS
from efm_experiments.table.evaluation import mean_steps, success_rate
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import (
    COMMON,
    curve_panels,
    curve_rates,
    LIMIT,
    LIMITS,
    Measure,
    MEASURES,
    percent,
    points,
    rates,
    reached_rate,
    shown,
    shown_difference,
    stopped_rate,
    success_table,
    time_table,
    whole_curve,
)
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
Stage 1 uses 1, 2 and 8 parts of the same demonstrations with equal optimiser steps. Stage 2
starts from each. The paper asks whether a tenth more episodes of practice is worth more than
eight times the demonstrations.

The cells `..., shipped settings` have the defaults that ship: s = 1, four clipped epochs, a
linear baseline and a moving average. They are missing in the tables below until they have run.
All other cells have s = 2, one epoch, no baseline and no average.

**Result.** Practice raises self-stopped and reached success at every size. After practice, more
demonstrations give more self-stopped success. For cloning alone the bounds allow a gain of more
demonstrations and none. By reached success 400 demonstrations with 400 practice episodes beat
3,200 cloned ones; by self-stopped success the bounds allow either sign. A tenth more episodes
mainly brings speed: the lead is large within 40 steps and vanishes within 90.

The table of a tenth more episodes compares the same scenes, those of the learning curve.
{COMMON}"""
SHIPPED = 'shipped settings'
WORDS = {'before': 'cloned', 'after': 'practised'}
DEFAULTS = table_robot().episode


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
    """Return one cell for each size, with the experiments' settings and with the shipped ones."""
    shipped = replace(
        config.base,
        learner='clipped_linear_ema',
        success_threshold=DEFAULTS.success_threshold,
        success_dwell=DEFAULTS.success_dwell,
    )
    return {
        f'{size} demonstrations{suffix}': replace(base, demonstrations=size)
        for base, suffix in ((config.base, ''), (shipped, f', {SHIPPED}'))
        for size in config.sizes
    }


def size_of(results: Results, cell: str) -> int:
    """Return the number of demonstrations of a cell."""
    return results.of(cell)[0].config['demonstrations']


def by_settings(results: Results) -> list[Results]:
    """Return the cells of each settings that have run, the shipped ones first."""
    groups = [
        Results(tuple(r for r in results.records if r.cell.endswith(SHIPPED) == shipped))
        for shipped in (True, False)
    ]
    return [group for group in groups if group.records]


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
    rows = []
    for group in by_settings(results):
        smallest = min(group.cells, key=lambda cell: size_of(group, cell))
        largest = largest_cell(group)
        for one, other in (
            ((smallest, 'after'), (smallest, 'before')),
            ((largest, 'before'), (smallest, 'before')),
            ((largest, 'after'), (smallest, 'after')),
            ((smallest, 'after'), (largest, 'before')),
        ):
            title = ' minus '.join(f'{cell}, {WORDS[phase]}' for cell, phase in (one, other))
            rows.append(
                [
                    title,
                    *(
                        shown_difference(group, one, other, measure)
                        for measure in MEASURES.values()
                    ),
                ]
            )
    header = ('difference', *(f'{word} [points]' for word in MEASURES))
    caption = f'Practice against more demonstrations: success within {LIMIT} steps'
    return ResultTable(caption, header, rows=rows)


def tenth_table(results: Results) -> ResultTable:
    """Return practice of about a tenth of the data against the largest data, at each limit."""
    rows = []
    for group in by_settings(results):
        largest = largest_cell(group)
        for cell in group.cells:
            extra = tenth(group, cell)
            share = f'+{100 * extra / size_of(group, cell):.0f} % ({extra} episodes)'
            for limit in LIMITS:
                stopped = percent(after_a_tenth(group, cell, stopped_rate, limit))
                found = after_a_tenth(group, cell, reached_rate, limit)
                lead = points(found, cloned_rates(group, largest, limit))
                rows.append([cell, share, limit, stopped, percent(found), lead])
    header = (
        'cell',
        'practice',
        'time limit [steps]',
        'self-stopped [%]',
        'reached [%]',
        f'reached, minus {largest_cell(results)}, cloned [points]',
    )
    return ResultTable('Practice with about a tenth more episodes', header, rows=rows)


def tenth(results: Results, cell: str) -> int:
    """Return the episodes at the checkpoint nearest to a tenth of the demonstrations."""
    done = results.values(cell, 'curve_episodes')[0]
    return min(done, key=lambda episodes: abs(episodes - size_of(results, cell) / 10))


def after_a_tenth(results: Results, cell: str, measure: Measure, limit: int) -> list[float]:
    """Return the success of each seed at that checkpoint; empty if it is not stored."""
    at = results.values(cell, 'curve_episodes')[0].index(tenth(results, cell))
    curves = [curve_rates(record, measure, limit) for record in results.of(cell)]
    return [curve[at] for curve in curves if curve]


def cloned_rates(results: Results, cell: str, limit: int) -> list[float]:
    """Return the reached success of cloning at the scenes of the learning curve."""
    records = results.of(cell)
    scenes = [record.config['curve_evaluations'] for record in records]
    return [
        success_rate(record.values['reached_before'][:count], limit)
        for record, count in zip(records, scenes, strict=True)
    ]


def headline(results: Results) -> ResultTable:
    """Return the table that the README quotes, with the shipped settings if they have run."""
    group = by_settings(results)[0]
    rows = []
    for cell in group.cells:
        before, after = (
            [shown(group, cell, phase, measure) for measure in MEASURES.values()]
            for phase in ('before', 'after')
        )
        steps = [
            over_seeds([mean_steps(run, LIMIT) for run in group.values(cell, name)])
            for name in ('reached_before', 'reached_after')
        ]
        length = ' → '.join(f'{estimate.mean:.0f}' for estimate in steps)
        rows.append([size_of(group, cell), before[0], after[0], before[1], after[1], length])
    practised = group.of(group.cells[0])[0].config['practice']
    header = (
        'demonstrations',
        'self-stopped, cloned [%]',
        f'self-stopped, after {practised} practice episodes [%]',
        'reached, cloned [%]',
        f'reached, after {practised} practice episodes [%]',
        'mean steps, before → after',
    )
    is_shipped = group.cells[0].endswith(SHIPPED)
    which = SHIPPED if is_shipped else 'not the shipped settings: s = 2, one epoch, no average'
    return ResultTable(f'Success within {LIMIT} steps ({which})', header, rows=rows)


def plot(results: Results) -> dict[str, Figure]:
    """Draw success over all episodes used; cloning is dashed."""
    group = by_settings(results)[0]
    panels = curve_panels(group, group.cells)
    figure, axes = axes_of(len(panels), 5.0)
    sizes = [size_of(group, cell) for cell in group.cells]
    for one, (title, measure, limit) in zip(axes, panels, strict=True):
        for k, cell in enumerate(group.cells):
            done, runs = whole_curve(group, cell, measure, limit)
            x = [size_of(group, cell) + episodes for episodes in done]
            band(one, x, 100 * np.array(runs), f'{cell}, then practice', COLOURS[k])
        cloned = [np.mean(rates(group, cell, 'before', measure, limit)) for cell in group.cells]
        one.plot(sizes, 100 * np.array(cloned), 'o--', color='#6b7280', label='cloning alone')
        one.set(xscale='log', ylim=(40, 102), title=title)
        one.set_xticks(sizes, [str(size) for size in sizes])
        one.minorticks_off()
        one.set(xlabel='episodes used: demonstrations and practice')
    axes[0].set_ylabel('success [%]')
    axes[-1].legend(fontsize=8)
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
