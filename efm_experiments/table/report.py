"""Tables and figures that experiments at the table share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from efm_evaluation.intervals import over_seeds, paired_over_seeds, rate_over_seeds
from efm_experiments.experiment import Record, Results, ResultTable
from efm_experiments.plots import axes_of, band, bars, COLOURS
from efm_experiments.table.evaluation import mean_steps, NEVER, self_stopped_rate, success_rate
from matplotlib.figure import Figure
import numpy as np

LIMITS = (40, 60, 90)  # time limits of the success figures [steps]
LIMIT = 60  # time limit of demonstrations, of practice and of the main figure [steps]
NOT_STORED = 'not stored'
Values = dict[str, Any]  # of a record: numbers and lists by name
Measure = Callable[[Values, str, int], float | None]  # values, phase, limit -> rate
COMMON = """
All cells of a seed use the same evaluation scenes. *Steps* is the mean number of steps to the
goal; an episode that does not reach its goal counts 90.
"""


def reached_rate(values: Values, phase: str, limit: int) -> float | None:
    """Return the reached success of one record within ``limit`` steps."""
    return success_rate(values[f'reached_{phase}'], limit)


def stopped_rate(values: Values, phase: str, limit: int) -> float | None:
    """Return the self-stopped success of one record; None if the truth is not stored."""
    right = values.get(f'right_{phase}')
    return None if right is None else self_stopped_rate(values[f'fired_{phase}'], right, limit)


def stopped_bounds(values: Values, phase: str, limit: int) -> tuple[float, float] | None:
    """
    Return the lowest and the highest self-stopped success; None if no detections are stored.

    Older records hold no truth at the detection, and their episodes end six steps after the goal.
    The lowest value takes a detection after the goal as right, and no other. The highest also
    counts goals without a stored detection, because the detector may have fired later.
    """
    exact = stopped_rate(values, phase, limit)
    if exact is not None:
        return exact, exact
    if f'fired_{phase}' not in values:
        return None
    goal, stop = (np.asarray(values[f'{name}_{phase}']) for name in ('reached', 'fired'))
    at_goal = (goal != NEVER) & (goal <= limit)
    in_time = (stop != NEVER) & (stop <= limit)
    right = at_goal & in_time & (goal <= stop)
    return float(right.mean()), float((right | (at_goal & ~in_time)).mean())


# Self-stopped success leads: a robot without a simulator gets it.
MEASURES: dict[str, Measure] = {'self-stopped': stopped_rate, 'reached': reached_rate}
PHASE = 'curve'  # of the values of one checkpoint


def has_bounds_only(record: Record) -> bool:
    """Return whether a record bounds self-stopped success but does not hold it."""
    fired = [name for name in record.values if name.startswith('fired_')]
    return any(name.replace('fired', 'right', 1) not in record.values for name in fired)


def rates(
    results: Results, cell: str, phase: str, measure: Measure, limit: int = LIMIT
) -> list[float]:
    """
    Return the success of every seed that stores it.

    :param phase: 'before' or 'after' practice, or another suffix of the stored values.
    :param limit: time limit [steps].
    """
    found = (measure(record.values, phase, limit) for record in results.of(cell))
    return [rate for rate in found if rate is not None]


def success_rates(results: Results, cell: str, phase: str, limit: int = LIMIT) -> list[float]:
    """Return the reached success of every seed; arguments as ``rates``."""
    return rates(results, cell, phase, reached_rate, limit)


def detection_rates(results: Results, cell: str, phase: str) -> list[float]:
    """Return the share of episodes in which the detector fired, for every seed that stores it."""
    name = f'fired_{phase}'
    stored = [record.values[name] for record in results.of(cell) if name in record.values]
    return [success_rate(fired, LIMIT) for fired in stored]


def percent(found: Sequence[float]) -> str:
    """Return the mean of rates over seeds with its interval in percent, as text."""
    return rate_over_seeds(found).text(100) if found else NOT_STORED


def points(one: Sequence[float], other: Sequence[float]) -> str:
    """Return the mean of paired differences of rates in percentage points, as text."""
    return paired_over_seeds(one, other).text(100) if one and other else NOT_STORED


def shown(results: Results, cell: str, phase: str, measure: Measure, limit: int = LIMIT) -> str:
    """Return the success over seeds as text: with its interval, or its bounds."""
    found = rates(results, cell, phase, measure, limit)
    ends = None if found else bounds(results, cell, phase, limit)
    return span(*ends) if ends else percent(found)


def shown_difference(
    results: Results, one: tuple[str, str], other: tuple[str, str], measure: Measure
) -> str:
    """
    Return a difference of success as text: paired by seed with its interval, or its bounds.

    :param one: cell and phase; ``other`` is subtracted.
    """
    first, second = (rates(results, *side, measure) for side in (one, other))
    if first and second:
        return paired_over_seeds(first, second).text(100)
    a, b = (bounds(results, *side) for side in (one, other))
    return span(a[0] - b[1], a[1] - b[0]) if a and b else NOT_STORED


def bounds(
    results: Results, cell: str, phase: str, limit: int = LIMIT
) -> tuple[float, float] | None:
    """Return the bounds of the mean self-stopped success over seeds; None if not stored."""
    found = [stopped_bounds(record.values, phase, limit) for record in results.of(cell)]
    known = [ends for ends in found if ends]
    if not known:
        return None
    low, high = np.mean(known, axis=0)
    return float(low), float(high)


def span(low: float, high: float) -> str:
    """Return the bounds of a rate or of a difference in percent, as text."""
    return f'{100 * low:.1f} to {100 * high:.1f}'


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
        f'self-stopped within {LIMIT} steps [%]',
        *(f'reached within {limit} steps [%]' for limit in LIMITS),
        'detector fired [%]',
        'steps',
    )
    return ResultTable(caption, header, rows=rows)


def success_cells(results: Results, cell: str, phase: str) -> list[str]:
    """Return self-stopped and reached success, detections and mean steps, as text."""
    stopped = shown(results, cell, phase, stopped_rate)
    reached = [shown(results, cell, phase, reached_rate, limit) for limit in LIMITS]
    fired = percent(detection_rates(results, cell, phase))
    steps = [mean_steps(at, LIMITS[-1]) for at in results.values(cell, f'reached_{phase}')]
    return [stopped, *reached, fired, over_seeds(steps).text()]


def gain(results: Results, cell: str, measure: Measure) -> str:
    """Return success after minus before practice, paired by seed, as text."""
    return shown_difference(results, (cell, 'after'), (cell, 'before'), measure)


def difference_table(
    results: Results, pairs: Sequence[tuple[str, str]], title: str, names: str = 'cell'
) -> ResultTable:
    """
    Return differences after practice by both measures, paired by seed.

    :param pairs: each with a cell and the cell that is subtracted.
    :param title: what is subtracted.
    :param names: ``cell``: a row shows its first cell; ``difference``: it shows both.
    """
    rows = [
        [
            one if names == 'cell' else f'{one} minus {other}',
            *(difference(results, one, other, measure) for measure in MEASURES.values()),
        ]
        for one, other in pairs
    ]
    header = (names, *(f'{word} [points]' for word in MEASURES))
    caption = f'Success within {LIMIT} steps after practice, {title}'
    return ResultTable(caption, header, rows=rows)


def difference(results: Results, cell: str, reference: str, measure: Measure) -> str:
    """Return the success of a cell minus that of ``reference``, paired by seed, as text."""
    seeds = set.intersection(*({r.seed for r in results.of(c)} for c in (cell, reference)))
    both = Results(tuple(record for record in results.records if record.seed in seeds))
    return shown_difference(both, (cell, 'after'), (reference, 'after'), measure)


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
    """
    Draw success over practice; the shade spans the seeds.

    Self-stopped success has a panel if the detections of the checkpoints are stored.
    """
    cells = [cell for cell in results.cells if has_curve(results, cell)]
    panels = curve_panels(results, cells)
    figure, axes = axes_of(len(panels), 5.0)
    lowest = 1.0
    for one, (title, measure, limit) in zip(axes, panels, strict=True):
        for k, cell in enumerate(cells):
            done, runs = whole_curve(results, cell, measure, limit)
            band(one, done, 100 * np.array(runs), cell, COLOURS[k % len(COLOURS)])
            lowest = min(lowest, np.min(runs))
        one.set(title=title, xlabel='practice episodes')
    for one in axes:
        one.set_ylim(max(100 * lowest // 10 * 10, 0), 101)
    axes[0].set_ylabel('success [%]')
    axes[-1].legend(fontsize=8)
    return figure


def curve_panels(results: Results, cells: Sequence[str]) -> list[tuple[str, Measure, int]]:
    """Return title, measure and time limit of each panel of a learning curve."""
    stored = all(whole_curve(results, cell, stopped_rate)[1] for cell in cells)
    panels: list[tuple[str, Measure, int]] = [
        (f'reached within {limit} steps', reached_rate, limit) for limit in LIMITS[:2]
    ]
    own = (f'self-stopped within {LIMIT} steps', stopped_rate, LIMIT)
    return [own, *panels] if stored else panels


def checkpoint(values: Values, k: int) -> Values:
    """Return the values of checkpoint ``k`` of a record, with the suffix ``PHASE``."""
    names = ('reached', 'fired', 'right')
    stored = {f'{name}_{PHASE}': values.get(f'curve_{name}') for name in names}
    return {name: column[k] for name, column in stored.items() if column is not None}


def curve_rates(record: Record, measure: Measure, limit: int = LIMIT) -> list[float]:
    """Return the success at each checkpoint of a record; empty if it is not stored."""
    count = len(record.values['curve_episodes'])
    found = (measure(checkpoint(record.values, k), PHASE, limit) for k in range(count))
    return [rate for rate in found if rate is not None]


def whole_curve(
    results: Results, cell: str, measure: Measure = reached_rate, limit: int = LIMIT
) -> tuple[list[int], list[list[float]]]:
    """
    Return practice episodes and the success after them, with start and end, for each seed.

    Seeds whose checkpoints do not store the success, or whose stage 1 does not, are left out.
    """
    first = results.of(cell)[0]
    done = [0, *first.values['curve_episodes']]
    has_end = done[-1] < practice_of(first)
    runs = []
    for record in results.of(cell):
        between = curve_rates(record, measure, limit)
        before, after = (measure(record.values, p, limit) for p in ('before', 'after'))
        if between and before is not None and after is not None:
            runs.append([before, *between, *([after] if has_end else [])])
    return done + ([practice_of(first)] if has_end else []), runs


def practice_of(record: Record) -> int:
    """Return the practice episodes of a record."""
    config = record.config
    return int(config.get('base', config)['practice'])


def has_curve(results: Results, cell: str) -> bool:
    """Return whether a cell was evaluated during practice."""
    return 'curve_success' in results.of(cell)[0].values


def plot_bars(results: Results, phase: str = 'after') -> Figure:
    """Draw both measures of every cell that has practised, or of all before practice."""
    cells = [c for c in results.cells if phase == 'before' or has_practised(results, c)]
    drawn = measures_of(results, cells, phase)
    figure, axes = axes_of(len(drawn), 5.0)
    figure.set_figheight(0.8 + 0.42 * len(cells))
    for one, (word, measure) in zip(axes, drawn.items(), strict=True):
        bars(one, {c: rate_over_seeds(rates(results, c, phase, measure)) for c in cells})
        one.set(xlabel=f'{word} within {LIMIT} steps [%], {phase} practice', xlim=(0, 108))
    return figure


def measures_of(results: Results, cells: Sequence[str], phase: str) -> dict[str, Measure]:
    """Return the measures that any of the cells stores."""
    return {
        word: measure
        for word, measure in MEASURES.items()
        if any(rates(results, cell, phase, measure) for cell in cells)
    }
