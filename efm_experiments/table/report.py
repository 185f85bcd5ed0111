"""Tables and pictures that experiments at the table share."""

from __future__ import annotations

from collections.abc import Sequence

from efm_evaluation.intervals import Estimate, over_seeds, paired_over_seeds, rate_over_seeds
from efm_experiments.experiment import Results, Table
from efm_experiments.plots import axes_of, band, bars, COLOURS
from efm_experiments.table.evaluation import steps, success
from matplotlib.figure import Figure
import numpy as np

LIMITS = (40, 60, 90)
LIMIT = 60  # of demonstrations, of practice, and of the main number
COMMON = """
Success is the truth: the goal was reached within the limit, whether or not the robot noticed.
Every cell of a seed meets the same evaluation scenes. Steps: to the goal, or to the longest limit.
"""


def rates(results: Results, cell: str, word: str, limit: int = LIMIT) -> list[float]:
    """Return the success rate of every seed; ``word`` is before or after."""
    return [success(reached, limit) for reached in results.values(cell, f'reached_{word}')]


def has_practised(results: Results, cell: str) -> bool:
    """Return whether a cell has a stage 2."""
    return 'reached_after' in results.of(cell)[0].values


def success_table(results: Results, caption: str) -> Table:
    """Return success at several limits, and steps, of every cell before and after practice."""
    rows = []
    for cell in results.cells:
        words = ('before', 'after') if has_practised(results, cell) else ('before',)
        rows += [[cell, word, *success_cells(results, cell, word)] for word in words]
    head = ('', 'practice', *(f'success within {limit} [%]' for limit in LIMITS), 'steps')
    return Table(caption, head, rows=rows)


def success_cells(results: Results, cell: str, word: str) -> list[str]:
    """Return success at several limits and mean steps, as people read it."""
    found = [rate_over_seeds(rates(results, cell, word, limit)).text(100) for limit in LIMITS]
    length = [steps(reached, LIMITS[-1]) for reached in results.values(cell, f'reached_{word}')]
    return [*found, over_seeds(length).text()]


def gain(results: Results, cell: str) -> Estimate:
    """Return what practice brought, paired by seed."""
    return paired_over_seeds(rates(results, cell, 'after'), rates(results, cell, 'before'))


def against(results: Results, cell: str, reference: str, word: str = 'after') -> Estimate:
    """Return how much better a cell is than ``reference``, paired by seed."""
    pairs = zip(results.of(cell), results.of(reference), strict=False)
    shared = [(a, b) for a, b in pairs if a.seed == b.seed]
    one, other = (
        [success(r.values[f'reached_{word}'], LIMIT) for r in side]
        for side in zip(*shared, strict=True)
    )
    return paired_over_seeds(one, other)


def time_table(results: Results) -> Table:
    """Return how much of a core the parts took."""
    names = ('demonstrations', 'fine_tuning', 'evaluation', 'practice')
    rows = [
        [cell, *(over_seeds(seconds(results, cell, name)).text(digits=0) for name in names)]
        for cell in results.cells
    ]
    return Table('Seconds of one core', ('', *(n.replace('_', ' ') for n in names)), rows=rows)


def seconds(results: Results, cell: str, name: str) -> Sequence[float]:
    """Return the seconds of one part in every seed where it was run."""
    found = (record.values.get(f'seconds_{name}') for record in results.of(cell))
    return [value for value in found if value is not None]


def plot_curves(results: Results) -> Figure:
    """Draw true success over practice within two time limits; between the seeds is shaded."""
    figure, axes = axes_of(2, 5.0)
    cells = [cell for cell in results.cells if has_curve(results, cell)]
    lowest = 1.0
    for one, limit in zip(axes, LIMITS[:2], strict=True):
        for k, cell in enumerate(cells):
            done, runs = curve_at(results, cell, limit)
            band(one, done, 100 * np.array(runs), cell, COLOURS[k % len(COLOURS)])
            lowest = min(lowest, np.min(runs))
        one.set(title=f'within {limit} steps', xlabel='episodes of practice')
    for one in axes:
        one.set_ylim(max(100 * lowest // 10 * 10, 0), 101)
    axes[0].set_ylabel('success [%]')
    axes[1].legend(fontsize=8)
    return figure


def curve_at(results: Results, cell: str, limit: int) -> tuple[list[int], list[list[float]]]:
    """Return episodes of practice and success within ``limit`` after them, in every run."""
    done, _ = whole_curve(results, cell)
    runs = []
    for record in results.of(cell):
        values = record.values
        reached = [values['reached_before'], *values['curve_reached'], values['reached_after']]
        runs.append([success(one, limit) for one in reached[: len(done)]])
    return done, runs


def whole_curve(results: Results, cell: str) -> tuple[list[int], list[list[float]]]:
    """Return episodes of practice, and the success after them in every run, first and last too."""
    between = results.values(cell, 'curve_success')
    done = [0, *results.values(cell, 'curve_episodes')[0]]
    runs = [
        [first, *run] for first, run in zip(rates(results, cell, 'before'), between, strict=True)
    ]
    config = results.of(cell)[0].config
    practised = config.get('setting', config)['practice']
    if done[-1] < practised:
        done.append(practised)
        ends = rates(results, cell, 'after')
        runs = [[*run, last] for run, last in zip(runs, ends, strict=True)]
    return done, runs


def has_curve(results: Results, cell: str) -> bool:
    """Return whether a cell was measured during practice."""
    return 'curve_success' in results.of(cell)[0].values


def plot_bars(results: Results, word: str = 'after') -> Figure:
    """Draw the success of every cell that practised, or of all before practice."""
    cells = [c for c in results.cells if word == 'before' or has_practised(results, c)]
    figure, (axes,) = axes_of(1, 7.0)
    figure.set_figheight(0.8 + 0.42 * len(cells))
    bars(axes, {cell: rate_over_seeds(rates(results, cell, word)) for cell in cells})
    axes.set(xlabel=f'success within {LIMIT} steps [%], {word} practice', xlim=(0, 105))
    return figure
