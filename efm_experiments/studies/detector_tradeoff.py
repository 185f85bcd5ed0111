"""Tables that compare reward models: recall against false success, and rewards of failures."""

from __future__ import annotations

from collections.abc import Sequence

from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_experiments.experiment import Results, ResultTable
from efm_experiments.learners.threshold import DWELLS
from efm_experiments.plots import axes_of, COLOURS
from efm_experiments.table.report import difference_table, LIMIT, success_table
from matplotlib.figure import Figure
import numpy as np

BASELINE = 'baseline'
FAILURE_AWARE = 'failure-aware'
RETRAINED = 'failure-aware, retrained'
TIMEOUT_PENALTY = 'time-out penalty'
GOAL_DWELL = 'goal dwell'
GOAL_DWELL_LARGE = 'goal dwell, more data'
COMPARED = (BASELINE, FAILURE_AWARE, GOAL_DWELL, GOAL_DWELL_LARGE)  # on the same episodes
MAX_FALSE = 0.02  # rate of false success at which recalls are compared


def summarise(results: Results) -> list[ResultTable]:
    """Return success, the tradeoff of the detectors, and the rewards of failed episodes."""
    pairs = [(cell, BASELINE) for cell in results.cells if cell != BASELINE]
    return [
        success_table(results, 'Success before and after practice with each reward model'),
        difference_table(results, pairs, 'minus the baseline'),
        chosen_table(results),
        *(tradeoff_table(results, phase) for phase in ('before', 'after')),
        failure_table(results),
        penalty_table(results),
    ]


def chosen_table(results: Results) -> ResultTable:
    """Return the rates of each detector with its chosen s and dwell."""
    rows = []
    for cell, word, title in compared_sets(results):
        false, recall = zip(*results.values(cell, f'chosen_{word}'), strict=True)
        rows.append([*title, rate_text(false), rate_text(recall)])
    header = ('reward model', 'episodes of', 'false success [% of all]', 'recall [%]')
    return ResultTable('Detectors with s and dwell chosen on demonstrations', header, rows=rows)


def compared_sets(results: Results) -> list[tuple[str, str, tuple[str, str]]]:
    """Return cell, value suffix and titles of each reward model on each set of episodes."""
    shared = [
        (BASELINE, f'{kind}_{phase}', (kind, f'baseline, {phase} practice'))
        for phase in ('before', 'after')
        for kind in COMPARED
    ]
    own = [cell for cell in results.cells if cell not in (BASELINE, TIMEOUT_PENALTY)]
    return shared + [(cell, f'{cell}_own', (cell, 'itself, after practice')) for cell in own]


def tradeoff_table(results: Results, phase: str) -> ResultTable:
    """Return the highest recall of each reward model at few false successes."""
    rows = []
    for kind in COMPARED:
        at = [best_recall(results, f'{kind}_{phase}', dwell) for dwell in DWELLS]
        rows.append([kind, *(rate_over_seeds(found).text(100) for found in at)])
    header = ('reward model', *(f'recall, dwell {dwell} [%]' for dwell in DWELLS))
    caption = (
        f'Highest recall with at most {100 * MAX_FALSE:.0f} % false success, for the best s '
        f'on these episodes (policy {phase} practice)'
    )
    return ResultTable(caption, header, rows=rows)


def best_recall(results: Results, word: str, dwell: int) -> list[float]:
    """Return for each seed the highest recall over all s with few false successes."""
    runs = zip(
        results.values(BASELINE, f'false_{word}_{dwell}'),
        results.values(BASELINE, f'recall_{word}_{dwell}'),
        strict=True,
    )
    return [
        max([r or 0.0 for f, r in zip(*run, strict=True) if f <= MAX_FALSE], default=0.0)
        for run in runs
    ]


def failure_table(results: Results) -> ResultTable:
    """Return the rewards of failed episodes."""
    rows = []
    for cell, word, title in compared_sets(results):
        found = zip(*results.values(cell, f'fails_{word}'), strict=True)
        earned = [over_seeds([v for v in one if v is not None]).text(digits=2) for one in found]
        rows.append([*title, *earned])
    header = (
        'reward model',
        'episodes of',
        'd(first) - d(last) [steps]',
        'mean discounted return [steps]',
    )
    caption = f'Rewards of episodes that do not reach their goal within {LIMIT} steps'
    return ResultTable(caption, header, rows=rows)


def penalty_table(results: Results) -> ResultTable:
    """Return the rewards of failed episodes with and without the time-out penalty."""
    rows = []
    for phase in ('before', 'after'):
        pairs = zip(*results.values(TIMEOUT_PENALTY, f'earned_{phase}'), strict=True)
        sums = [over_seeds([v for v in one if v is not None]).text(digits=1) for one in pairs]
        rows.append([f'{phase} practice', *sums])
    header = ('policy', "the paper's reward [steps]", 'with time-out penalty [steps]')
    caption = 'Sum of the rewards of failed episodes, up to their end in practice'
    return ResultTable(caption, header, rows=rows)


def rate_text(values: Sequence[float | None]) -> str:
    """Return the rate over the seeds in which it is defined, as text in percent."""
    return rate_over_seeds([value for value in values if value is not None]).text(100)


def plot(results: Results) -> dict[str, Figure]:
    """Draw recall against false success; each dot is one s."""
    figure, axes = axes_of(2)
    for one, phase in zip(axes, ('before', 'after'), strict=True):
        for k, kind in enumerate(COMPARED):
            for dwell, style in zip(DWELLS, (':', '--', '-'), strict=True):
                false, recall = (
                    [over_seeds([v or 0.0 for v in at]).mean for at in zip(*runs, strict=True)]
                    for runs in (
                        results.values(BASELINE, f'{what}_{kind}_{phase}_{dwell}')
                        for what in ('false', 'recall')
                    )
                )
                one.plot(
                    100 * np.array(false),
                    100 * np.array(recall),
                    style,
                    marker='.',
                    color=COLOURS[k],
                    label=f'{kind}, dwell {dwell}',
                )
        few = 100 * MAX_FALSE
        one.plot([few, few, 0], [100, 90, 90], color='#d1d5db')
        one.set(xlabel='false success [% of all]', ylabel='recall [%]', title=f'{phase} practice')
        one.set_xlim(-0.5, 25)
    axes[1].legend(fontsize=6)
    return {'frontier': figure}
