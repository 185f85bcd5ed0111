"""Sentences, ordered pairs and words that no training ever saw."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_experiments.examination import examine, figures
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.intervals import over_seeds, paired_over_seeds
from efm_experiments.plots import axes_of, bars
from efm_experiments.setting import Setting, TINY
from efm_experiments.stage_one import make_team
from efm_experiments.table import practise
from efm_experiments.table_report import COMMON, LIMIT, rates
from matplotlib.figure import Figure

ABOUT = f"""
Trained on the training split only, evaluated also on phrasings (verbs, prepositions, sentence
patterns) never trained, on ordered pairs of blocks never trained, and on words for colours and
shapes that not even the tower's pretraining saw. The phrasings and synonyms were looked at while
the tower was made, so they are a validation set, not a clean test.
{COMMON}"""
SPLITS = ('train', 'phrasing', 'pairs', 'synonym')


@dataclass(frozen=True)
class LanguageConfig:
    """All else."""

    setting: Setting = field(default_factory=Setting)


def run_cell(setting: Setting, seed: int) -> dict:
    """Return when each episode of each split reached its goal, before and after practice."""
    before = make_team(setting, seed)
    after, _ = practise(setting, before, seed)
    return {
        name: value
        for split in SPLITS
        for word, team in (('before', before), ('after', after))
        for name, value in figures(
            examine(replace(setting, split=split), team, seed), setting, f'{word}_{split}'
        ).items()
    }


def summarise(results: Results) -> list[Table]:
    """Return success in each split."""
    (cell,) = results.cells
    rows = []
    for split in SPLITS:
        found = [rates(results, cell, f'{word}_{split}') for word in ('before', 'after')]
        lost = paired_over_seeds(found[1], rates(results, cell, 'after_train'))
        rows.append([split, *(over_seeds(values).text(100) for values in found), lost.text(100)])
    head = ('split', 'before [%]', 'after [%]', 'after, minus train (points)')
    return [Table(f'Success within {LIMIT} steps', head, rows)]


def plot(results: Results) -> dict[str, Figure]:
    """Draw success after practice in each split."""
    (cell,) = results.cells
    figure, (axes,) = axes_of(1, 6.0)
    bars(axes, {split: over_seeds(rates(results, cell, f'after_{split}')) for split in SPLITS})
    axes.set(xlim=(0, 105), xlabel=f'success within {LIMIT} steps [%], after practice')
    return {'splits': figure}


EXPERIMENT = Experiment(
    name='language',
    title='Language',
    about=ABOUT,
    config=LanguageConfig(),
    smoke=LanguageConfig(replace(TINY, curve=())),
    cells=lambda config: {'default': config.setting},
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
