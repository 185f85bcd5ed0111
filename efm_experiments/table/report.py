"""Tables and figures that experiments at the table share."""

from __future__ import annotations

from collections.abc import Sequence

from efm_evaluation.intervals import Estimate, over_seeds, paired_over_seeds, rate_over_seeds
from efm_experiments.experiment import Record, Results, ResultTable
from efm_experiments.plots import axes_of, band, bars, COLOURS
from efm_experiments.table.evaluation import mean_steps, self_stopped_rate, success_rate
from matplotlib.figure import Figure
import numpy as np

LIMITS = (40, 60, 90)  # time limits of the success figures [steps]
LIMIT = 60  # time limit of demonstrations, of practice and of the main figure [steps]
COMMON = """
All cells of a seed use the same evaluation scenes. *Steps* is the mean number of steps to the
goal; an episode that does not reach its goal counts 90.
"""


def success_rates(results: Results, cell: str, phase: str, limit: int = LIMIT) -> list[float]:
    """
    Return the reached success of every seed.

    :param phase: 'before' or 'after' practice, or another suffix of the stored values.
    :param limit: time limit [steps].
    """
    return [success_rate(reached, limit) for reached in results.values(cell, f'reached_{phase}')]


def detection_rates(results: Results, cell: str, phase: str) -> list[float]:
    """Return the share of episodes in which the detector fired, for every seed that stores it."""
    name = f'fired_{phase}'
    stored = [record.values[name] for record in results.of(cell) if name in record.values]
    return [success_rate(fired, LIMIT) for fired in stored]


def self_stopped_rates(results: Results, cell: str, phase: str, limit: int = LIMIT) -> list[float]:
    """Return the self-stopped success of every seed; empty if no detections are stored."""
    return [
        self_stopped_rate(record.values[f'reached_{phase}'], record.values[fired], limit)
        for record in results.of(cell)
        if (fired := f'fired_{phase}') in record.values
    ]


def has_practised(results: Results, cell: str) -> bool:
    """Return whether a cell has a stage 2."""
    return 'reached_after' in results.of(cell)[0].values


def success_table(results: Results, caption: str) -> ResultTable:
    """Return success, detections and mean steps, before and after practice."""
    rows = []
    for cell in results.cells:
        phases = ('before', 'after') if has_practised(results, cell) else ('before',)
        rows += [[cell, phase, *success_cells(results, cell, phase)] for phase in phases]
    header = (
        'cell',
        'practice',
        *(f'reached within {limit} steps [%]' for limit in LIMITS),
        f'self-stopped within {LIMIT} steps [%]',
        'detector fired [%]',
        'steps',
    )
    return ResultTable(caption, header, rows=rows)


def success_cells(results: Results, cell: str, phase: str) -> list[str]:
    """Return reached and self-stopped success, detections and mean steps, as text."""
    reached = [
        rate_over_seeds(success_rates(results, cell, phase, limit)).text(100) for limit in LIMITS
    ]
    stopped, fired = (
        rate_over_seeds(rates(results, cell, phase)).text(100)
        for rates in (self_stopped_rates, detection_rates)
    )
    steps = [mean_steps(at, LIMITS[-1]) for at in results.values(cell, f'reached_{phase}')]
    return [*reached, stopped, fired, over_seeds(steps).text()]


def gain(results: Results, cell: str) -> Estimate:
    """Return reached success after minus before practice, paired by seed."""
    after = success_rates(results, cell, 'after')
    return paired_over_seeds(after, success_rates(results, cell, 'before'))


def difference(results: Results, cell: str, reference: str, phase: str = 'after') -> Estimate:
    """Return the reached success of a cell minus that of ``reference``, paired by seed."""
    pairs = zip(results.of(cell), results.of(reference), strict=False)
    shared = [(a, b) for a, b in pairs if a.seed == b.seed]
    one, other = (
        [success_rate(record.values[f'reached_{phase}'], LIMIT) for record in side]
        for side in zip(*shared, strict=True)
    )
    return paired_over_seeds(one, other)


def time_table(results: Results) -> ResultTable:
    """Return the processor time of each part."""
    names = ('demonstrations', 'fine_tuning', 'evaluation', 'practice')
    rows = [
        [cell, *(over_seeds(seconds(results, cell, name)).text(digits=0) for name in names)]
        for cell in results.cells
    ]
    header = ('cell', *(name.replace('_', ' ') for name in names))
    return ResultTable('Processor time [s]', header, rows=rows)


def seconds(results: Results, cell: str, name: str) -> Sequence[float]:
    """Return the processor time of one part in every seed that ran it [s]."""
    found = (record.values.get(f'seconds_{name}') for record in results.of(cell))
    return [value for value in found if value is not None]


def plot_curves(results: Results) -> Figure:
    """Draw reached success over practice at two time limits; the shade spans the seeds."""
    figure, axes = axes_of(2, 5.0)
    cells = [cell for cell in results.cells if has_curve(results, cell)]
    lowest = 1.0
    for one, limit in zip(axes, LIMITS[:2], strict=True):
        for k, cell in enumerate(cells):
            done, runs = curve_at(results, cell, limit)
            band(one, done, 100 * np.array(runs), cell, COLOURS[k % len(COLOURS)])
            lowest = min(lowest, np.min(runs))
        one.set(title=f'within {limit} steps', xlabel='practice episodes')
    for one in axes:
        one.set_ylim(max(100 * lowest // 10 * 10, 0), 101)
    axes[0].set_ylabel('reached [%]')
    axes[1].legend(fontsize=8)
    return figure


def curve_at(results: Results, cell: str, limit: int) -> tuple[list[int], list[list[float]]]:
    """Return practice episodes and the reached success after them, one list for each seed."""
    done, _ = whole_curve(results, cell)
    runs = []
    for record in results.of(cell):
        values = record.values
        reached = [values['reached_before'], *values['curve_reached'], values['reached_after']]
        runs.append([success_rate(at, limit) for at in reached[: len(done)]])
    return done, runs


def whole_curve(results: Results, cell: str) -> tuple[list[int], list[list[float]]]:
    """Return the learning curve of every seed, with its start and its end."""
    between = results.values(cell, 'curve_success')
    done = [0, *results.values(cell, 'curve_episodes')[0]]
    before = success_rates(results, cell, 'before')
    runs = [[first, *run] for first, run in zip(before, between, strict=True)]
    practised = practice_of(results.of(cell)[0])
    if done[-1] < practised:
        done.append(practised)
        ends = success_rates(results, cell, 'after')
        runs = [[*run, last] for run, last in zip(runs, ends, strict=True)]
    return done, runs


def practice_of(record: Record) -> int:
    """Return the practice episodes of a record."""
    config = record.config
    return int(config.get('base', config)['practice'])


def has_curve(results: Results, cell: str) -> bool:
    """Return whether a cell was evaluated during practice."""
    return 'curve_success' in results.of(cell)[0].values


def plot_bars(results: Results, phase: str = 'after') -> Figure:
    """Draw the reached success of every cell that has practised, or of all before practice."""
    cells = [c for c in results.cells if phase == 'before' or has_practised(results, c)]
    figure, (axes,) = axes_of(1, 7.0)
    figure.set_figheight(0.8 + 0.42 * len(cells))
    bars(axes, {cell: rate_over_seeds(success_rates(results, cell, phase)) for cell in cells})
    axes.set(xlabel=f'reached within {LIMIT} steps [%], {phase} practice', xlim=(0, 105))
    return figure
