"""
A fresh test set of sentences, written down once.

No verb, preposition, sentence pattern, colour word or shape word of these occurs in a split of
``efm_sim.table.language`` or around the sentences of pretraining (a test holds that). They may
be used for evaluations only: whoever changes a model, a grammar or a rule after seeing results has
to write new ones. So it was with the words for colours and shapes, at which the dictionary of
``canonical`` was looked over; it has a test set of its own in ``unheard``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY

from efm_experiments.language import heldout_words as unheard
from efm_sim.table import language
from efm_sim.table.language import noun, place_names, Task
from efm_sim.table.world import Table
import numpy as np

Noun = Callable[[str, np.random.Generator], str]
Words = dict[str, tuple[str, ...]]

VERBS = (
    'transport',
    'carry',
    'transfer',
    'deliver',
    'relocate',
    'roll',
    'haul',
    'lead',
    'escort',
    'usher',
    'ferry',
    'manoeuvre',
    'sweep',
    'scoot',
)
TO_BLOCK = (
    'alongside',
    'adjacent to',
    'across to',
    'along to',
    'as far as',
    'until it reaches',
    'so that it meets',
)
TO_PLACE = ('across to', 'along to', 'as far as', 'until it reaches')
BY_BLOCK = (
    'alongside',
    'adjacent to',
    'flush with',
    'in the immediate vicinity of',
    'side by side with',
)
PATTERNS = (
    'just {verb} {source} {to} {target}',
    'gently {verb} {source} {to} {target}',
    'slowly {verb} {source} {to} {target}',
    'straight away {verb} {source} {to} {target}',
    'without hurrying {verb} {source} {to} {target}',
    'you should {verb} {source} {to} {target}',
    'shall we {verb} {source} {to} {target}',
    'how about we {verb} {source} {to} {target}',
    'do me a favour and {verb} {source} {to} {target}',
    'let me watch you {verb} {source} {to} {target}',
    'the goal is to {verb} {source} {to} {target}',
    'my request is that you {verb} {source} {to} {target}',
    'what is needed is to {verb} {source} {to} {target}',
    'i am asking you to {verb} {source} {to} {target}',
    'it would be great if you could {verb} {source} {to} {target}',
    'here is what to do , {verb} {source} {to} {target}',
    'with the tip of the arm {verb} {source} {to} {target}',
    'from where it lies {verb} {source} {to} {target}',
    'first {verb} {source} {to} {target} and that is all',
    'pick {source} and {verb} it {to} {target}',
    'you see {source} , {verb} it {to} {target}',
    'after locating {source} , {verb} it {to} {target}',
    'go over to {source} and {verb} it {to} {target}',
    '{source} belongs {by} {target}',
    '{source} must finish {by} {target}',
    'have {source} end up {by} {target}',
    'see to it that {source} is {by} {target}',
    'we are done when {source} is {by} {target}',
    'the destination of {source} is {by} {target}',
    '{by} {target} is the spot for {source}',
)
COLOUR_WORDS = {
    'red': ('raspberry', 'claret', 'tomato red'),
    'blue': ('denim', 'lapis', 'steel blue'),
    'green': ('shamrock', 'pistachio', 'avocado green'),
    'yellow': ('buttercup', 'primrose', 'daffodil yellow'),
}
SHAPE_WORDS = {
    'cube': ('package', 'chest', 'boxy object', 'four sided block'),
    'cylinder': ('pillar', 'spool', 'rounded object', 'coin shaped piece'),
}


@dataclass(frozen=True)
class Grammar:
    """What sentences are made of, but for the names of blocks and places."""

    verbs: tuple[str, ...]
    to_block: tuple[str, ...]
    _: KW_ONLY
    to_place: tuple[str, ...]
    by_block: tuple[str, ...]
    patterns: tuple[str, ...]
    block_patterns: tuple[str, ...] = ()


FRESH = Grammar(VERBS, TO_BLOCK, to_place=TO_PLACE, by_block=BY_BLOCK, patterns=PATTERNS)
TRAINED = Grammar(
    language.VERBS,
    language.TO_BLOCK,
    to_place=language.TO_PLACE,
    by_block=language.BY_BLOCK,
    patterns=language.TEMPLATES,
    block_patterns=language.BLOCK_TEMPLATES,
)


def rephrase(task: Task, rng: np.random.Generator) -> str:
    """Return a sentence of the fresh patterns, verbs and prepositions, in trained nouns."""
    return write(task, rng, FRESH, noun)


def rename(task: Task, rng: np.random.Generator) -> str:
    """Return a sentence of the trained patterns, in fresh words for colours and shapes."""
    return write(task, rng, TRAINED, nouns(COLOUR_WORDS, SHAPE_WORDS))


def rename_again(task: Task, rng: np.random.Generator) -> str:
    """Return a sentence of the trained patterns, in words that no other set has."""
    return write(task, rng, TRAINED, nouns(unheard.COLOUR_WORDS, unheard.SHAPE_WORDS))


def nouns(colours: Words, shapes: Words) -> Noun:
    """Return what makes noun phrases for block types of these words."""

    def noun_of(type_name: str, rng: np.random.Generator) -> str:
        colour, shape = type_name.split('_')
        return f'the {pick(rng, colours[colour])} {pick(rng, shapes[shape])}'

    return noun_of


def write(task: Task, rng: np.random.Generator, grammar: Grammar, name: Noun) -> str:
    """Return a sentence that asks for ``task``."""
    if task.kind == 'block_to_block':
        patterns = grammar.patterns + grammar.block_patterns
        target = name(task.target, rng)
        by = grammar.by_block
        to = grammar.to_block
    else:
        patterns = grammar.patterns
        to = grammar.to_place
        at, target = pick(rng, place_names(task.target))
        by = (at,)
    return pick(rng, patterns).format(
        source=name(task.source, rng),
        target=target,
        by=pick(rng, by),
        to=pick(rng, to),
        verb=pick(rng, grammar.verbs),
        placing=pick(rng, language.PLACING_VERBS),
    )


def pick(rng: np.random.Generator, options: tuple) -> str:
    """Return one of ``options``."""
    return options[rng.integers(len(options))]


class Asked:
    """A table at which the same is asked in other words: ``ask`` makes them of task and seed."""

    def __init__(self, table: Table, ask: Callable[[Table, int], str]):
        self._table = table
        self._ask = ask
        self.instruction = ''
        self.step = table.step
        self.render = table.render
        self.success = table.success

    def reset(self, seed: int) -> None:
        """Bring the scene of ``seed``; only the sentence is another one."""
        self._table.reset(seed)
        self.instruction = self._ask(self._table, seed)
