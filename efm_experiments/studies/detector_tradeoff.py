"""What reward models are compared by: recall against false successes, and what failures earn."""

from __future__ import annotations

from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_experiments.experiment import Results, Table
from efm_experiments.learners.threshold import DWELLS
from efm_experiments.plots import axes_of, COLOURS
from efm_experiments.table.report import against, LIMIT, success_table
from matplotlib.figure import Figure
import numpy as np

PLAIN = 'plain'
AWARE = 'failure-aware'
REFRESHED = 'refreshed'
CHARGED = 'time-outs cost'
STAYS = 'stays'
STAYS_MORE = 'stays, four times the data'
COMPARED = (PLAIN, AWARE, STAYS, STAYS_MORE)  # on the same episodes
ALLOWED = 0.02  # of false successes, where recalls are compared


def summarise(results: Results) -> list[Table]:
    """Return what stage 2 reaches, the frontier, the chosen s, and returns of failures."""
    words = ('before', 'after')
    return [
        success_table(results, 'Stage 2 with each reward model'),
        gain_table(results),
        chosen_table(results),
        *(frontier_table(results, word) for word in words),
        failure_table(results),
        cost_table(results),
    ]


def gain_table(results: Results) -> Table:
    """Return each cell against the plain one, paired by seed."""
    rows = [[c, against(results, c, PLAIN).text(100)] for c in results.cells if c != PLAIN]
    return Table(
        f'Success within {LIMIT} steps after practice, minus plain (points)', ('', ''), rows=rows
    )


def chosen_table(results: Results) -> Table:
    """Return what the chosen s and dwell do."""
    rows = []
    for cell, word in sets(results):
        false, recall = zip(*results.values(cell, f'chosen_{word}'), strict=True)
        rows.append([word.replace('_', ': '), estimate(false), estimate(recall)])
    head = ('model, policy', 'false success [% of all]', 'recall [%]')
    return Table('With s and dwell chosen without truth', head, rows=rows)


def sets(results: Results) -> list[tuple[str, str]]:
    """Return the cell and the name of everything that was compared."""
    shared = [(PLAIN, f'{kind}_{w}') for w in ('before', 'after') for kind in COMPARED]
    own = [(cell, f'{cell}_own') for cell in results.cells if cell not in (PLAIN, CHARGED)]
    return shared + own


def frontier_table(results: Results, word: str) -> Table:
    """Return the highest recall of every model at few false successes, on the same episodes."""
    rows = []
    for kind in COMPARED:
        at = [best_recall(results, f'{kind}_{word}', dwell) for dwell in DWELLS]
        rows.append([kind, *(rate_over_seeds(found).text(100) for found in at)])
    head = ('model', *(f'recall, dwell {dwell} [%]' for dwell in DWELLS))
    few = f'{100 * ALLOWED:.0f} %'
    caption = f'Highest recall at {few} of false successes, if s were known ({word} practice)'
    return Table(caption, head, rows=rows)


def best_recall(results: Results, word: str, dwell: int) -> list[float]:
    """Return for every seed the highest recall over s with few enough false successes."""
    runs = zip(
        results.values(PLAIN, f'false_{word}_{dwell}'),
        results.values(PLAIN, f'recall_{word}_{dwell}'),
        strict=True,
    )
    return [
        max([r or 0.0 for f, r in zip(*run, strict=True) if f <= ALLOWED], default=0.0)
        for run in runs
    ]


def failure_table(results: Results) -> Table:
    """Return what failed attempts earn."""
    rows = []
    for cell, word in sets(results):
        found = zip(*results.values(cell, f'fails_{word}'), strict=True)
        earned = [over_seeds([v for v in one if v is not None]).text(digits=2) for one in found]
        rows.append([word.replace('_', ': '), *earned])
    head = ('model, policy', 'd(first) - d(last) [steps]', 'discounted return [steps]')
    return Table(f'What attempts that fail within {LIMIT} steps earn', head, rows=rows)


def cost_table(results: Results) -> Table:
    """Return what failed attempts earn if a time-out costs."""
    rows = []
    for word in ('before', 'after'):
        pairs = zip(*results.values(CHARGED, f'earned_{word}'), strict=True)
        sums = [over_seeds([v for v in one if v is not None]).text(digits=1) for one in pairs]
        rows.append([f'{word} practice', *sums])
    head = ('', 'the rewards of the paper', 'a time-out costs')
    return Table(
        'Sum of the rewards of attempts that fail, as they end in practice', head, rows=rows
    )


def estimate(values: list) -> str:
    """Return shares over seeds in percent, where they are defined."""
    return rate_over_seeds([value for value in values if value is not None]).text(100)


def plot(results: Results) -> dict[str, Figure]:
    """Draw recall against false success, each dot an s."""
    figure, axes = axes_of(2)
    for one, word in zip(axes, ('before', 'after'), strict=True):
        for k, kind in enumerate(COMPARED):
            for dwell, style in zip(DWELLS, (':', '--', '-'), strict=True):
                false, recall = (
                    [over_seeds([v or 0.0 for v in at]).mean for at in zip(*runs, strict=True)]
                    for runs in (
                        results.values(PLAIN, f'{what}_{kind}_{word}_{dwell}')
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
        few = 100 * ALLOWED
        one.plot([few, few, 0], [100, 90, 90], color='#d1d5db')
        one.set(xlabel='false success [% of all]', ylabel='recall [%]', title=f'{word} practice')
        one.set_xlim(-0.5, 25)
    axes[1].legend(fontsize=6)
    return {'frontier': figure}
