"""Sentences, ordered pairs and words that no training ever saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, KW_ONLY, replace
import functools
import sys

from efm_evaluation.intervals import over_episodes, paired_over_seeds, rate_over_seeds
from efm_experiments.config import Setting, text_encoder, TINY, worlds
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.language.heldout_sentences import Asked, rename, rename_again, rephrase
from efm_experiments.language.synonym_normaliser import Canonicaliser
from efm_experiments.language.wordnet import is_installed, MISSING
from efm_experiments.plots import axes_of, bars
from efm_experiments.table.evaluation import examine, figures
from efm_experiments.table.practice import practise
from efm_experiments.table.report import COMMON, LIMIT, rates
from efm_experiments.table.sft_cache import make_team, Team
from efm_sim.table.language import phrase, Task, tasks
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
Trained on the split `train` only: 14 + 3 sentence patterns, 13 words a colour, 12 a shape.

- `phrasing`, `pairs`, `synonym`: held out from every training, but looked at while the encoder was
  made, so these are validation sets. `pairs` are ten ordered pairs of blocks, asked for as in
  training. `synonym` are words for colours and shapes that not even the encoder's pretraining saw.
- `fresh phrasing`, `fresh phrasing, pairs`, `fresh synonym`: the test set, in
  `efm_experiments/language/heldout_sentences.py`. 30 patterns, 14 verbs, 10 prepositions, 12
  colour words and 8 shape words, none of them in any other split; written once, before anything
  was measured on them. No decision was made on them but for the dictionary below.
- `..., canonical`: the same sentences, but names with unknown words are put into plain ones first,
  by what the frozen sentence encoder says is nearest
  (`efm_experiments/language/synonym_normaliser.py`);
  nothing is retrained. How it goes about it was chosen on the words of `synonym`: only its row on
  `fresh synonym` is a test.
- `..., dictionary`: the same, but a word is first looked up, as anybody would do who meets it for
  the first time: in WordNet, and in a survey of what people call colours
  (`efm_experiments/language/wordnet.py`). It was added after the others had been measured. Its
  first version was chosen on the words of `synonym`, of which it put all right, and 46 % of the
  fresh ones; then those were looked at too. So its test set is another one: `unheard synonym`, 24
  colour and 12 shape words, written down by somebody who had not seen the method, before anything
  was measured on them, and measured once.

All but the pairs are asked at the same scenes for the same tasks; only the sentence differs.
{COMMON}"""
ENCODER = 'encoder'
DICTIONARY = 'dictionary'
SENTENCES = 300  # for the count of what the canonicaliser changes

Write = Callable[[Task, np.random.Generator], str]


@dataclass(frozen=True)
class Way:
    """
    How the robot is asked.

    :param split: of the table, which draws task and scene.
    :param write: makes the sentence; without, it is the table's own.
    :param canonical: what puts names into plain words: nothing, the encoder, the dictionary.
    :param begins: whether it is measured before practice too.
    """

    split: str = 'train'
    write: Write | None = None
    _: KW_ONLY
    canonical: str = ''
    begins: bool = False

    def sentence(self, task: Task, rng: np.random.Generator) -> str:
        """Return a sentence as this way has it before it is made canonical."""
        return self.write(task, rng) if self.write else phrase(task, rng, self.split)


WAYS = {
    'train': Way(begins=True),
    'train, dictionary': Way(canonical=DICTIONARY),
    'phrasing': Way('phrasing'),
    'pairs': Way('pairs', begins=True),
    'synonym': Way('synonym'),
    'fresh phrasing': Way(write=rephrase, begins=True),
    'fresh phrasing, pairs': Way('pairs', rephrase),
    'fresh synonym': Way(write=rename),
    'synonym, canonical': Way('synonym', canonical=ENCODER),
    'fresh synonym, canonical': Way(write=rename, canonical=ENCODER),
    'synonym, dictionary': Way('synonym', canonical=DICTIONARY),
    'fresh synonym, dictionary': Way(write=rename, canonical=DICTIONARY),
    'unheard synonym': Way(write=rename_again),
    'unheard synonym, canonical': Way(write=rename_again, canonical=ENCODER),
    'unheard synonym, dictionary': Way(write=rename_again, canonical=DICTIONARY),
}


@dataclass(frozen=True)
class LanguageConfig:
    """All else."""

    setting: Setting = field(default_factory=lambda: Setting(evaluations=200))


@functools.cache
def ways() -> dict[str, Way]:
    """Return the ways that can be had on this machine."""
    if is_installed():
        return WAYS
    print(f'{MISSING}; ways with a dictionary are left out', file=sys.stderr)
    return {name: way for name, way in WAYS.items() if way.canonical != DICTIONARY}


def run_cell(setting: Setting, seed: int) -> dict:
    """Return when each episode of each way reached its goal, and what was made canonical."""
    plain = {
        name: Canonicaliser(text_encoder(), name == DICTIONARY) for name in (ENCODER, DICTIONARY)
    }
    before = make_team(setting, seed)
    after, _ = practise(setting, before, seed)
    values = {}
    for name, way in ways().items():
        write = plain.get(way.canonical)
        values |= asked(setting, after, seed, way, write, f'after_{name}')
        if way.begins:
            values |= asked(setting, before, seed, way, write, f'before_{name}')
        if write:
            values |= rewritten(way, write, seed, name)
    return values


def asked(
    setting: Setting, team: Team, seed: int, way: Way, plain: Canonicaliser | None, word: str
) -> dict[str, list[int]]:
    """Return the figures of a team that is asked in one way."""
    setting = replace(setting, split=way.split)

    def ask(table, scene: int) -> str:
        rng = np.random.default_rng([scene, 2])
        sentence = way.write(table.task, rng) if way.write else table.instruction
        return plain(sentence) if plain else sentence

    tables = [Asked(t, ask) for t in worlds(setting.worlds, setting.body, setting.split)]
    return figures(examine(setting, team, seed, tables=tables), setting, word)


def rewritten(way: Way, plain: Canonicaliser, seed: int, name: str) -> dict[str, list[bool]]:
    """Return which sentences the canonicaliser leaves alone, and in which it names all blocks."""
    rng = np.random.default_rng([seed, 3])
    options = tasks('both', way.split)
    same = []
    right = []
    for _ in range(SENTENCES):
        task = options[rng.integers(len(options))]
        sentence = way.sentence(task, rng)
        written = plain(sentence)
        blocks = (task.source, task.target) if task.kind == 'block_to_block' else (task.source,)
        same.append(written == sentence)
        right.append(all(f'the {block.replace("_", " ")}' in written for block in blocks))
    return {f'same_{name}': same, f'right_{name}': right}


def summarise(results: Results) -> list[Table]:
    """Return success in each way, and what the canonicaliser does to sentences."""
    (cell,) = results.cells
    rows = []
    for name, way in present(results):
        after = rates(results, cell, f'after_{name}')
        before = rates(results, cell, f'before_{name}') if way.begins else []
        lost = paired_over_seeds(after, rates(results, cell, 'after_train'))
        together = [
            0 <= at <= LIMIT for run in results.values(cell, f'reached_after_{name}') for at in run
        ]
        shown = (rate_over_seeds(before), rate_over_seeds(after), over_episodes(together), lost)
        rows.append([name, *(estimate.text(100) for estimate in shown)])
    head = (
        'asked',
        'before [%]',
        'after [%], over seeds',
        'after [%], over episodes',
        'after, minus train (points)',
    )
    return [
        Table(f'Success within {LIMIT} steps', head, rows=rows),
        canonical_table(results, cell),
    ]


def present(results: Results) -> list[tuple[str, Way]]:
    """Return the ways that were measured."""
    values = results.of(results.cells[0])[0].values
    return [(name, way) for name, way in WAYS.items() if f'reached_after_{name}' in values]


def canonical_table(results: Results, cell: str) -> Table:
    """Return what the canonicaliser does to sentences of each way."""
    rows = [
        [name, *(share(results, cell, f'{word}_{name}') for word in ('same', 'right'))]
        for name, way in present(results)
        if way.canonical
    ]
    head = ('sentences', 'left as they are [%]', 'afterwards all names plain and right [%]')
    return Table('What the canonicaliser does', head, rows=rows)


def share(results: Results, cell: str, name: str) -> str:
    """Return the share of sentences of all seeds, as people read it."""
    return over_episodes([one for run in results.values(cell, name) for one in run]).text(100)


def plot(results: Results) -> dict[str, Figure]:
    """Draw success after practice in each way."""
    (cell,) = results.cells
    figure, (axes,) = axes_of(1, 6.0)
    figure.set_figheight(0.8 + 0.42 * len(present(results)))
    bars(
        axes,
        {
            name: rate_over_seeds(rates(results, cell, f'after_{name}'))
            for name, _ in present(results)
        },
    )
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
