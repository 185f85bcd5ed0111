"""The findings at the head of the results page: one line each, with figures of stored records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY

from efm_experiments.experiment import Results, ResultTable
from efm_experiments.studies import manipulation, over_optimisation, reuse, sample_efficiency
from efm_experiments.studies.detector import rate_text, THRESHOLDS
from efm_experiments.studies.pointmass import collapsed
from efm_experiments.table.report import MEASURES, shown, shown_difference
import numpy as np


@dataclass(frozen=True)
class Finding:
    """
    One line.

    :param claim: what was found, as a sentence.
    :param experiment: whose records hold it.
    :param cells: the cells that the figure needs; the line is left out without them.
    :param figure: returns the figures, self-stopped success first.
    :param episodes: name of the stored list with one entry for each evaluation episode; empty
        where the figure is none of episodes.
    """

    claim: str
    experiment: str
    _: KW_ONLY
    cells: tuple[str, ...]
    figure: Callable[[Results], str]
    episodes: str = 'reached_after'

    def size(self, results: Results) -> str:
        """Return seeds and evaluation episodes of the first cell, as text."""
        records = results.of(self.cells[0])
        count = len(records)
        seeds = f'{count} seed{"s" * (count > 1)}'
        return f'{seeds} x {len(records[0].values[self.episodes])}' if self.episodes else seeds


def change(cell: str, before: str = 'before') -> Callable[[Results], str]:
    """Return a figure: both measures of a cell before and after practice [%]."""

    def figure(results: Results) -> str:
        return '; '.join(
            f'{word} {shown(results, cell, before, measure)} → '
            f'{shown(results, cell, "after", measure)} %'
            for word, measure in MEASURES.items()
        )

    return figure


def gap(one: tuple[str, str], other: tuple[str, str]) -> Callable[[Results], str]:
    """Return a figure: the difference of two cells and phases by both measures [points]."""

    def figure(results: Results) -> str:
        return '; '.join(
            f'{word} {shown_difference(results, one, other, measure)} points'
            for word, measure in MEASURES.items()
        )

    return figure


def task(cell: str) -> Callable[[Results], str]:
    """Return a figure: self-stopped success and precision in one manipulation task [%]."""

    def figure(results: Results) -> str:
        stopped, precision = (
            ' → '.join(text(phase) for phase in ('before', 'after'))
            for text in (
                lambda phase: manipulation.self_stopped(results, cell, phase).text(100),
                lambda phase: manipulation.detector_cells(results, cell, phase)[2],
            )
        )
        return f'self-stopped {stopped} %; precision of the detector {precision} %'

    return figure


def tenth(results: Results) -> str:
    """Return the lead of a tenth more practice over the largest data, at each time limit."""
    rows = sample_efficiency.tenth_table(results).rows
    leads = [f'{row[-1]} within {row[2]} steps' for row in rows if row[0] == '400 demonstrations']
    return f'reached {"; ".join(leads)}'


def held(results: Results) -> str:
    """Return late success minus the peak, of the shipped learner and of one epoch."""
    rows = {row[0]: row for row in over_optimisation.summarise(results)[0].rows}
    return '; '.join(
        f'`{cell}`: self-stopped at the end {rows[cell][1]} %, reached late minus peak '
        f'{rows[cell][5]} points'
        for cell in ('four epochs, linear baseline, EMA', 'one epoch')
    )


def needed(results: Results) -> str:
    """Return the episodes that four epochs need for the success of one."""
    cell = 'four epochs, linear baseline'
    one, *_ = results.values('one epoch', 'practice_episodes')
    by = [f'{w} {reuse.needed(results, cell, m)}' for w, m in MEASURES.items()]
    return f'episodes instead of {int(np.max(one))}: {"; ".join(by)}'


def detector(results: Results) -> str:
    """Return precision, recall and false success of the detector after practice, for s 1 and 2."""

    def figure(s: float) -> str:
        at = THRESHOLDS.index(s)
        names = ('precision', 'recall', 'false_success')
        precision, recall, false = (rate_text(results, f'{name}_after_2', at) for name in names)
        return f's = {s:g}: precision {precision}, recall {recall}, false success {false} %'

    return '; '.join(map(figure, (1.0, 2.0)))


FINDINGS = (
    Finding(
        'Practice improves a cloned policy at the simulated table.',
        'sample_efficiency',
        cells=('400 demonstrations',),
        figure=change('400 demonstrations'),
    ),
    Finding(
        'From pixels, practice helped a task whose detector was right, in one run.',
        'manipulation',
        cells=('button_press_topdown',),
        figure=task('button_press_topdown'),
    ),
    Finding(
        'Where the detector was often wrong, practice exploited it, in one run.',
        'manipulation',
        cells=('push',),
        figure=task('push'),
    ),
    Finding(
        'Whether 400 demonstrations with 400 practice episodes beat 3,200 cloned ones is open by '
        'self-stopped success; by reached success they do.',
        'sample_efficiency',
        cells=('400 demonstrations', '3200 demonstrations'),
        figure=gap(('400 demonstrations', 'after'), ('3200 demonstrations', 'before')),
    ),
    Finding(
        'A tenth more episodes brings speed: 40 practice episodes against 3,200 cloned '
        'demonstrations.',
        'sample_efficiency',
        cells=('400 demonstrations', '3200 demonstrations'),
        figure=tenth,
        episodes='',
    ),
    Finding(
        'Four epochs with a linear baseline need fewer episodes than one epoch in the mean; the '
        'interval is open.',
        'reuse',
        cells=('four epochs, linear baseline', 'one epoch'),
        figure=needed,
    ),
    Finding(
        'The shipped learner holds its success in long practice.',
        'over_optimisation',
        cells=('four epochs, linear baseline, EMA', 'one epoch'),
        figure=held,
    ),
    Finding(
        'The detector is the weak part: a larger s finds more goals and reports more false ones.',
        'detector',
        cells=('ended by the detector',),
        figure=detector,
    ),
    Finding(
        'A reward model without pretraining makes practice harmful.',
        'ablation',
        cells=('scratch reward model', 'joint reward model'),
        figure=gap(('scratch reward model', 'after'), ('joint reward model', 'after')),
    ),
    Finding(
        "The notebook's pointmass practice collapses on some seeds.",
        'pointmass',
        cells=('notebook',),
        figure=lambda results: f'reached lower than before: {collapsed(results, "notebook")}',
        episodes='',
    ),
)


def findings_table(stored: dict[str, tuple[str, Results]]) -> ResultTable:
    """
    Return the findings whose records are stored.

    :param stored: title of the page's section and results, by the experiment's name.
    """
    rows = []
    for finding in FINDINGS:
        title, results = stored.get(finding.experiment, ('', Results(())))
        if set(finding.cells) <= set(results.cells):
            link = f'[{title}](#{title.lower().replace(" ", "-")})'
            rows.append([finding.claim, finding.figure(results), finding.size(results), link])
    header = ('finding', 'figure', 'n', 'section')
    return ResultTable('Findings', header, rows=rows)
