"""Held-out sentences, ordered pairs of blocks and words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, KW_ONLY, replace
import functools
import sys
from typing import Any

from efm_evaluation.intervals import over_episodes, rate_over_seeds
from efm_experiments.config import ExperimentConfig, make_tables, text_encoder, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.language.heldout_sentences import (
    RephrasedTable,
    write_heldout_names,
    write_heldout_pattern,
    write_second_heldout_names,
)
from efm_experiments.language.synonym_normaliser import SynonymNormaliser
from efm_experiments.language.wordnet import is_installed, MISSING
from efm_experiments.plots import axes_of, bars
from efm_experiments.table.evaluation import evaluate_policy, success_values
from efm_experiments.table.practice import practise
from efm_experiments.table.report import (
    COMMON,
    LIMIT,
    measures_of,
    rates,
    reached_rate,
    shown,
    shown_difference,
    stopped_rate,
)
from efm_experiments.table.sft_cache import make_model_pair, ModelPair
from efm_sim.table.language import phrase, Task, tasks
from efm_sim.table.world import Table
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
The models are trained on the split `train` only: 14 + 3 sentence patterns, 13 words for each
colour, 12 for each shape. All conditions except the pairs use the same scenes and tasks; only
the sentence differs.

- `phrasing`, `pairs`, `synonym`: validation sets. They are held out of all training, but were
  used during the development of the encoder. `pairs` are ten ordered pairs of blocks in trained
  sentences. `synonym` are words for colours and shapes that the pretraining does not contain.
- `test phrasing`, `test phrasing, pairs`, `test synonym`: the first test set
  (`efm_experiments/language/heldout_sentences.py`): 30 patterns, 14 verbs, 10 prepositions, 12
  colour words and 8 shape words, none of them in another split. It was written once, before any
  measurement on it. Only the dictionary below was revised with it.
- `second test synonym`: the second test set (`efm_experiments/language/heldout_words.py`): 24
  colour words and 12 shape words. A writer who did not know the method wrote them before any
  measurement. They were measured once.
- `..., nearest word`: each unknown name of a block is replaced by the nearest known one, by the
  frozen sentence encoder (`efm_experiments/language/synonym_normaliser.py`). Nothing is
  retrained. The method was chosen on the words of `synonym`.
- `..., dictionary`: as above, but WordNet and a survey of colour names come first
  (`efm_experiments/language/wordnet.py`). It was added after the other measurements. Its first
  version was chosen on the words of `synonym`, where it replaced all correctly, and 46 % of
  `test synonym`; then it was revised with both. Its only test is `second test synonym`.
{COMMON}"""
NEAREST = 'nearest word'
DICTIONARY = 'dictionary'
SENTENCES = 300  # sentences in which the replacements are counted

Write = Callable[[Task, np.random.Generator], str]


@dataclass(frozen=True)
class Condition:
    """
    One kind of instruction.

    :param split: instruction split of the table, which draws task and scene.
    :param write: writes the sentence; None for the table's own.
    :param normaliser: replaces unknown names: '' (none), ``NEAREST`` or ``DICTIONARY``.
    :param before: evaluate the policy before practice too.
    """

    split: str = 'train'
    write: Write | None = None
    _: KW_ONLY
    normaliser: str = ''
    before: bool = False

    def sentence(self, task: Task, rng: np.random.Generator) -> str:
        """Return a sentence of this condition, before names are replaced."""
        return self.write(task, rng) if self.write else phrase(task, rng, self.split)


CONDITIONS = {
    'train': Condition(before=True),
    'train, dictionary': Condition(normaliser=DICTIONARY),
    'phrasing': Condition('phrasing'),
    'pairs': Condition('pairs', before=True),
    'synonym': Condition('synonym'),
    'test phrasing': Condition(write=write_heldout_pattern, before=True),
    'test phrasing, pairs': Condition('pairs', write_heldout_pattern),
    'test synonym': Condition(write=write_heldout_names),
    'synonym, nearest word': Condition('synonym', normaliser=NEAREST),
    'test synonym, nearest word': Condition(write=write_heldout_names, normaliser=NEAREST),
    'synonym, dictionary': Condition('synonym', normaliser=DICTIONARY),
    'test synonym, dictionary': Condition(write=write_heldout_names, normaliser=DICTIONARY),
    'second test synonym': Condition(write=write_second_heldout_names),
    'second test synonym, nearest word': Condition(
        write=write_second_heldout_names, normaliser=NEAREST
    ),
    'second test synonym, dictionary': Condition(
        write=write_second_heldout_names, normaliser=DICTIONARY
    ),
}


@dataclass(frozen=True)
class LanguageConfig:
    """Configuration of the only cell."""

    base: ExperimentConfig = field(default_factory=lambda: ExperimentConfig(evaluations=200))


@functools.cache
def available_conditions() -> dict[str, Condition]:
    """Return all conditions, without those of the dictionary if it is not installed."""
    if is_installed():
        return CONDITIONS
    print(f'{MISSING}; conditions with a dictionary are left out', file=sys.stderr)
    return {name: one for name, one in CONDITIONS.items() if one.normaliser != DICTIONARY}


def run_cell(config: ExperimentConfig, seed: int) -> dict[str, Any]:
    """Return the success values of each condition, and what the normaliser changed."""
    normalisers = {
        name: SynonymNormaliser(text_encoder(), use_dictionary=name == DICTIONARY)
        for name in (NEAREST, DICTIONARY)
    }
    before = make_model_pair(config, seed)
    after, _ = practise(config, before, seed)
    values: dict[str, Any] = {}
    for name, condition in available_conditions().items():
        normaliser = normalisers.get(condition.normaliser)
        values |= evaluate_condition(config, after, seed, condition, normaliser, f'after_{name}')
        if condition.before:
            phase = f'before_{name}'
            values |= evaluate_condition(config, before, seed, condition, normaliser, phase)
        if normaliser:
            values |= count_replacements(condition, normaliser, seed, name)
    return values


def evaluate_condition(
    config: ExperimentConfig,
    models: ModelPair,
    seed: int,
    condition: Condition,
    normaliser: SynonymNormaliser | None,
    phase: str,
) -> dict[str, list[int]]:
    """Return the success values of ``models`` in one condition."""
    config = replace(config, split=condition.split)

    def write_instruction(table: Table, scene: int) -> str:
        rng = np.random.default_rng([scene, 2])
        sentence = condition.write(table.task, rng) if condition.write else table.instruction
        return normaliser(sentence) if normaliser else sentence

    tables = [
        RephrasedTable(table, write_instruction)
        for table in make_tables(config.num_worlds, config.body, config.split)
    ]
    return success_values(evaluate_policy(config, models, seed, tables=tables), config, phase)


def count_replacements(
    condition: Condition, normaliser: SynonymNormaliser, seed: int, name: str
) -> dict[str, list[bool]]:
    """Return which sentences stay unchanged, and in which all names are plain and right."""
    rng = np.random.default_rng([seed, 3])
    options = tasks('both', condition.split)
    same = []
    right = []
    for _ in range(SENTENCES):
        task = options[rng.integers(len(options))]
        sentence = condition.sentence(task, rng)
        written = normaliser(sentence)
        blocks = (task.source, task.target) if task.kind == 'block_to_block' else (task.source,)
        same.append(written == sentence)
        right.append(all(f'the {block.replace("_", " ")}' in written for block in blocks))
    return {f'same_{name}': same, f'right_{name}': right}


def summarise(results: Results) -> list[ResultTable]:
    """Return success in each condition, and what the normaliser changes."""
    (cell,) = results.cells
    rows = []
    for name, condition in present(results):
        side = (cell, f'after_{name}')
        together = [
            0 <= at <= LIMIT for run in results.values(cell, f'reached_{side[1]}') for at in run
        ]
        rows.append(
            [
                name,
                shown(results, *side, stopped_rate),
                shown(results, *side, reached_rate),
                over_episodes(together).text(100),
                shown(results, cell, f'before_{name}', reached_rate) if condition.before else '-',
                *(
                    shown_difference(results, side, (cell, 'after_train'), measure)
                    for measure in (stopped_rate, reached_rate)
                ),
            ]
        )
    header = (
        'condition',
        'self-stopped, after [%], over seeds',
        'reached, after [%], over seeds',
        'reached, after [%], over episodes',
        'reached, before practice [%]',
        'self-stopped, after, minus train [points]',
        'reached, after, minus train [points]',
    )
    return [
        ResultTable(f'Success within {LIMIT} steps', header, rows=rows),
        replacement_table(results, cell),
    ]


def present(results: Results) -> list[tuple[str, Condition]]:
    """Return the conditions that were measured."""
    values = results.of(results.cells[0])[0].values
    return [(name, one) for name, one in CONDITIONS.items() if f'reached_after_{name}' in values]


def replacement_table(results: Results, cell: str) -> ResultTable:
    """Return what the normaliser does to the sentences of each condition."""
    rows = [
        [name, *(share(results, cell, f'{word}_{name}') for word in ('same', 'right'))]
        for name, condition in present(results)
        if condition.normaliser
    ]
    header = ('condition', 'unchanged [%]', 'all names plain and right [%]')
    return ResultTable('Replacement of unknown names, over sentences', header, rows=rows)


def share(results: Results, cell: str, name: str) -> str:
    """Return the share of sentences over all seeds, as text."""
    return over_episodes([one for run in results.values(cell, name) for one in run]).text(100)


def plot(results: Results) -> dict[str, Figure]:
    """Draw success after practice in each condition."""
    (cell,) = results.cells
    names = [name for name, _ in present(results)]
    drawn = measures_of(results, [cell], 'after_train')
    figure, axes = axes_of(len(drawn), 5.0)
    figure.set_figheight(0.8 + 0.42 * len(names))
    for one, (word, measure) in zip(axes, drawn.items(), strict=True):
        found = {name: rates(results, cell, f'after_{name}', measure) for name in names}
        bars(one, {name: rate_over_seeds(each) for name, each in found.items()})
        one.set(xlim=(0, 108), xlabel=f'{word} within {LIMIT} steps [%], after practice')
    return {'splits': figure}


EXPERIMENT = Experiment(
    name='language',
    title='Language',
    about=ABOUT,
    config=LanguageConfig(),
    smoke=LanguageConfig(replace(TINY, curve=())),
    cells=lambda config: {'default': config.base},
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
