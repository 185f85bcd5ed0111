"""The tasks of the table and their English instructions."""

from __future__ import annotations

from dataclasses import dataclass
import functools
import itertools
from typing import TypeVar

import numpy as np

COLOURS = ('red', 'blue', 'green', 'yellow')
SHAPES = ('cube', 'cylinder')
TYPES = tuple(f'{colour}_{shape}' for shape in SHAPES for colour in COLOURS)
BAR = 'yellow_bar'  # absent from demonstrations and from pretraining
PLACES = (
    'left',
    'right',
    'top',
    'bottom',
    'centre',
    'top_left',
    'top_right',
    'bottom_left',
    'bottom_right',
)
SPLITS = ('train', 'phrasing', 'synonym', 'pairs')
Option = TypeVar('Option')

# The plain word comes first. No word fits two colours or two shapes, so the bare word 'block' is
# absent.
COLOUR_WORDS = {
    'red': (
        'red',
        'scarlet',
        'ruby',
        'cherry',
        'ruby red',
        'bright red',
        'cherry red',
        'blood red',
        'brick red',
        'fire engine red',
        'vermilion',
        'maroon',
        'burgundy',
    ),
    'blue': (
        'blue',
        'azure',
        'cobalt',
        'sapphire',
        'royal blue',
        'sky blue',
        'bright blue',
        'ocean blue',
        'indigo',
        'ultramarine',
        'midnight blue',
        'cobalt blue',
        'sapphire blue',
    ),
    'green': (
        'green',
        'emerald',
        'jade',
        'lime green',
        'forest green',
        'grass green',
        'bright green',
        'leaf green',
        'emerald green',
        'moss green',
        'apple green',
        'lime',
        'mint green',
    ),
    'yellow': (
        'yellow',
        'golden',
        'corn yellow',
        'bright yellow',
        'gold',
        'sunny yellow',
        'banana yellow',
        'mustard',
        'sunflower yellow',
        'butter yellow',
        'canary',
        'golden yellow',
        'saffron',
    ),
}
SHAPE_WORDS = {
    'cube': (
        'cube',
        'box',
        'dice',
        'square block',
        'cubic block',
        'brick',
        'square',
        'crate',
        'square piece',
        'box shaped block',
        'cube shaped object',
        'square brick',
    ),
    'cylinder': (
        'cylinder',
        'can',
        'disc',
        'round block',
        'puck',
        'drum',
        'barrel',
        'tin',
        'round piece',
        'circle',
        'canister',
        'cylindrical block',
    ),
}
UNSEEN_COLOUR_WORDS = {
    'red': ('crimson', 'carmine', 'rose red'),
    'blue': ('navy', 'cerulean', 'cornflower blue'),
    'green': ('olive', 'pine green', 'fern'),
    'yellow': ('lemon', 'straw yellow', 'maize'),
}
UNSEEN_SHAPE_WORDS = {
    'cube': ('cuboid', 'carton', 'squarish block', 'cubical thing'),
    'cylinder': ('tube', 'jar', 'circular block', 'round thing'),
}

# Pretraining has the word 'yellow' but not 'bar'; in pretraining, 'brick' means a cube.
BAR_WORDS = ('yellow bar', 'long yellow bar', 'yellow brick')

# As in the image: 'top' is the far side of the table, at the arm.
_PLACE_WORDS = {
    'left': ('left', 'left hand'),
    'right': ('right', 'right hand'),
    'top': ('top', 'upper'),
    'bottom': ('bottom', 'lower'),
}

VERBS = ('push', 'move', 'slide', 'shift', 'guide', 'take', 'get', 'send', 'steer')
PLACING_VERBS = ('put', 'place', 'set', 'position')
UNSEEN_VERBS = ('bring', 'shove', 'nudge', 'drag')
TO_BLOCK = (
    'to',
    'towards',
    'over to',
    'into',
    'next to',
    'against',
    'close to',
    'in contact with',
)
BY_BLOCK = ('next to', 'against', 'close to', 'in contact with')
UNSEEN_TO_BLOCK = ('beside', 'up to', 'near', 'right by')
TO_PLACE = ('to', 'towards', 'over to')
UNSEEN_TO_PLACE = ('up to', 'in the direction of', 'all the way to')

TEMPLATES = (
    '{verb} {source} {to} {target}',
    'please {verb} {source} {to} {target}',
    '{verb} {source} {to} {target} please',
    'can you {verb} {source} {to} {target}',
    'could you please {verb} {source} {to} {target}',
    'robot {verb} {source} {to} {target}',
    'find {source} and {verb} it {to} {target}',
    'use the tool to {verb} {source} {to} {target}',
    'look for {source} then {verb} it {to} {target}',
    '{source} should go {to} {target}',
    '{source} has to be {by} {target}',
    '{placing} {source} {by} {target}',
    'please {placing} {source} {by} {target}',
    '{target} is where {source} should go',
)
BLOCK_TEMPLATES = (
    'make {source} touch {target}',
    '{verb} {source} until it touches {target}',
    'move {source} so that it touches {target}',
)
UNSEEN_TEMPLATES = (
    'i want you to {verb} {source} {to} {target}',
    'go ahead and {verb} {source} {to} {target}',
    'your job is to {verb} {source} {to} {target}',
    'would you kindly {verb} {source} {to} {target}',
    'now {verb} {source} {to} {target} thank you',
)


@dataclass(frozen=True)
class Task:
    """
    A task: bring block ``source`` to ``target``, another block or a place.

    :param source: one of ``TYPES``, or ``BAR``.
    :param target: one of ``TYPES`` or ``PLACES``.
    """

    source: str
    target: str

    def __post_init__(self) -> None:
        """
        Check the names.

        :raises ValueError: when a name is unknown, or source and target are equal.
        """
        if self.source not in (*TYPES, BAR):
            raise ValueError(
                f'source: expected one of {", ".join(TYPES)} or {BAR}, got {self.source!r}'
            )
        if self.target not in TYPES + PLACES or self.target == self.source:
            raise ValueError(
                f'target: expected another block or one of {", ".join(PLACES)}, '
                f'got {self.target!r}'
            )

    @property
    def kind(self) -> str:
        """The kind of the task: ``block_to_block`` or ``block_to_place``."""
        return 'block_to_place' if self.target in PLACES else 'block_to_block'


# No type is a held-out source or target more than twice, so training has each in both roles.
HELD_OUT_PAIRS = tuple(
    Task(*pair)
    for pair in (
        ('red_cube', 'blue_cylinder'),
        ('blue_cylinder', 'red_cube'),
        ('green_cube', 'yellow_cube'),
        ('yellow_cylinder', 'green_cylinder'),
        ('blue_cube', 'red_cylinder'),
        ('red_cylinder', 'yellow_cylinder'),
        ('yellow_cube', 'blue_cube'),
        ('green_cylinder', 'green_cube'),
        ('blue_cube', 'yellow_cylinder'),
        ('red_cube', 'green_cylinder'),
    )
)


@functools.cache
def tasks(kind: str = 'both', split: str = 'train') -> tuple[Task, ...]:
    """
    Return all tasks of a kind in a split.

    :param kind: ``block_to_block``, ``block_to_place`` or ``both``.
    :param split: one of `SPLITS`. ``pairs`` has the held-out pairs only; the others never have
        them.
    :raises ValueError: when the split is unknown.
    """
    _check_split(split)
    if split == 'pairs':
        return HELD_OUT_PAIRS
    pairs = [Task(*pair) for pair in itertools.permutations(TYPES, 2)]
    places = [Task(*pair) for pair in itertools.product(TYPES, PLACES)]
    return tuple(
        task
        for task in pairs + places
        if task not in HELD_OUT_PAIRS and kind in ('both', task.kind)
    )


def bar_tasks() -> tuple[Task, ...]:
    """Return all tasks of the long bar: one for each named place."""
    return tuple(Task(BAR, place) for place in PLACES)


def types_in(task: Task) -> tuple[str, ...]:
    """Return the block types in a task: its source, and its target if that is a block."""
    return (task.source, task.target) if task.kind == 'block_to_block' else (task.source,)


def phrase(task: Task, rng: np.random.Generator, split: str = 'train', plain: float = 0.6) -> str:
    """
    Return an English instruction for ``task``.

    :param rng: source of the random choices.
    :param split: ``phrasing`` has verbs, prepositions and templates that ``train`` never has.
        ``synonym`` has words for colours and shapes that ``train`` never has. ``pairs`` has the
        words of ``train``.
    :param plain: probability of the plain word (red, cube) for a colour or shape.
    :raises ValueError: when the split is unknown.
    """
    _check_split(split)
    unseen = split == 'phrasing'
    words = {
        'source': noun(task.source, rng, split, plain),
        **_target_words(task, rng, split, plain),
        'verb': _pick(rng, UNSEEN_VERBS if unseen else VERBS),
        'placing': _pick(rng, PLACING_VERBS),
    }
    return _pick(rng, _templates(task, unseen)).format(**words)


def noun(
    type_name: str, rng: np.random.Generator, split: str = 'train', plain: float = 0.6
) -> str:
    """Return a noun phrase for a block type, such as ``the scarlet box``; as `phrase`."""
    if type_name == BAR:
        return f'the {_pick(rng, BAR_WORDS)}'
    colour, shape = type_name.split('_')
    if split == 'synonym':
        word = _pick(rng, UNSEEN_COLOUR_WORDS[colour])
        return f'the {word} {_pick(rng, UNSEEN_SHAPE_WORDS[shape])}'
    return f'the {_word(rng, COLOUR_WORDS[colour], plain)} {_word(rng, SHAPE_WORDS[shape], plain)}'


def place_names(place: str) -> tuple[tuple[str, str], ...]:
    """
    Return the names of a place, each with its preposition.

    For example ``('in', 'the top left corner')``.
    """
    if place == 'centre':
        return (
            ('in', 'the centre of the table'),
            ('in', 'the middle of the table'),
            ('in', 'the centre'),
            ('in', 'the middle'),
        )
    if '_' in place:
        vertical, side = place.split('_')
        return tuple(
            ('in', f'the {word} {side} corner{end}')
            for word in _PLACE_WORDS[vertical]
            for end in ('', ' of the table')
        )
    return tuple(
        (at, f'the {word} {part}{end}')
        for word in _PLACE_WORDS[place]
        for at, part in (('on', 'side'), ('at', 'edge'))
        for end in ('', ' of the table')
    )


def _target_words(
    task: Task, rng: np.random.Generator, split: str, plain: float
) -> dict[str, str]:
    unseen = split == 'phrasing'
    if task.kind == 'block_to_block':
        return {
            'target': noun(task.target, rng, split, plain),
            'by': _pick(rng, BY_BLOCK),
            'to': _pick(rng, UNSEEN_TO_BLOCK if unseen else TO_BLOCK),
        }
    by, name = _pick(rng, place_names(task.target))
    return {'target': name, 'by': by, 'to': _pick(rng, UNSEEN_TO_PLACE if unseen else TO_PLACE)}


def _templates(task: Task, unseen: bool) -> tuple[str, ...]:
    if unseen:
        return UNSEEN_TEMPLATES
    return TEMPLATES + BLOCK_TEMPLATES if task.kind == 'block_to_block' else TEMPLATES


def _word(rng: np.random.Generator, words: tuple[str, ...], plain: float) -> str:
    return words[0] if rng.random() < plain else _pick(rng, words[1:])


def _pick(rng: np.random.Generator, options: tuple[Option, ...]) -> Option:
    return options[rng.integers(len(options))]


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f'split: expected one of {", ".join(SPLITS)}, got {split!r}')
