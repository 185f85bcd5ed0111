"""
The first test set: held-out sentence patterns, verbs, prepositions and words.

No verb, preposition, sentence pattern, colour word or shape word of this set occurs in a split of
``efm_sim.table.language`` or in the filler phrases of pretraining; a test checks this. The set is
for evaluations only. A change of model, grammar or rule after a look at its results requires a new
set. The dictionary of ``synonym_normaliser`` was revised after a look at the colour and shape
words of this set. It therefore has its own test set in ``heldout_words``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, KW_ONLY
from typing import TypeVar

from efm_experiments.language import heldout_words
from efm_sim.table import language
from efm_sim.table.language import noun, place_names, Task
from efm_sim.table.world import Table
import numpy as np

NameWriter = Callable[[str, np.random.Generator], str]  # from a block type to a noun phrase
Words = Mapping[str, tuple[str, ...]]
T = TypeVar('T')

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
    """The parts of sentences, without the names of blocks and places."""

    verbs: tuple[str, ...]
    to_block: tuple[str, ...]
    _: KW_ONLY
    to_place: tuple[str, ...]
    by_block: tuple[str, ...]
    patterns: tuple[str, ...]
    block_patterns: tuple[str, ...] = ()


HELD_OUT = Grammar(VERBS, TO_BLOCK, to_place=TO_PLACE, by_block=BY_BLOCK, patterns=PATTERNS)
TRAINED = Grammar(
    language.VERBS,
    language.TO_BLOCK,
    to_place=language.TO_PLACE,
    by_block=language.BY_BLOCK,
    patterns=language.TEMPLATES,
    block_patterns=language.BLOCK_TEMPLATES,
)


def write_heldout_pattern(task: Task, rng: np.random.Generator) -> str:
    """Return a sentence with held-out pattern, verb and preposition, and trained names."""
    return write(task, rng, HELD_OUT, noun)


def write_heldout_names(task: Task, rng: np.random.Generator) -> str:
    """Return a sentence with a trained pattern and the colour and shape words of this set."""
    return write(task, rng, TRAINED, name_writer(COLOUR_WORDS, SHAPE_WORDS))


def write_second_heldout_names(task: Task, rng: np.random.Generator) -> str:
    """Return a sentence with a trained pattern and the words of ``heldout_words``."""
    names = name_writer(heldout_words.COLOUR_WORDS, heldout_words.SHAPE_WORDS)
    return write(task, rng, TRAINED, names)


def name_writer(colours: Words, shapes: Words) -> NameWriter:
    """Return a function that writes noun phrases for block types with these words."""

    def write_name(type_name: str, rng: np.random.Generator) -> str:
        colour, shape = type_name.split('_')
        return f'the {pick(rng, colours[colour])} {pick(rng, shapes[shape])}'

    return write_name


def write(task: Task, rng: np.random.Generator, grammar: Grammar, name: NameWriter) -> str:
    """Return a sentence for ``task``."""
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


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one of ``options`` at random."""
    return options[int(rng.integers(len(options)))]


class RephrasedTable:
    """A table with other instructions for the same tasks and scenes."""

    def __init__(self, table: Table, write_instruction: Callable[[Table, int], str]):
        """
        Wrap ``table``.

        :param write_instruction: returns the instruction for the table after a reset and the seed.
        """
        self._table = table
        self._write_instruction = write_instruction
        self.instruction = ''
        self.step = table.step
        self.images = table.images
        self.state = table.state
        self.terminated = table.terminated
        self.success = table.success

    def reset(self, seed: int) -> None:
        """Set up the scene of ``seed`` with another instruction."""
        self._table.reset(seed)
        self.instruction = self._write_instruction(self._table, seed)
