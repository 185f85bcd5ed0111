"""
Names that the encoder never saw, put into plain ones before it reads them.

Nothing is retrained: a name whose words are unknown is taken for the colour and the shape whose
known words its own are nearest to, by the frozen sentence encoder alone; or for those by which a
dictionary defines it, and by the encoder only where the dictionary does not know. Which sentence
frames and which nearness serve was chosen on the words of the split ``synonym``; how definitions
are read, on those and on the words of ``fresh``, so that only ``unheard`` is a test of it.
"""

from __future__ import annotations

from collections import Counter
import functools
import re

from efm_experiments.language.wordnet import ANY_BLOCK, colour_votes, shape_votes
from efm_experiments.table.pretraining import AFTER, BEFORE
from efm_model.text import TextEncoder
from efm_sim.table import language
from efm_sim.table.language import COLOUR_WORDS, place_names, PLACES, SHAPE_WORDS
import numpy as np

COLOUR_FRAME = 'the colour {}'
SHAPE_FRAME = 'it is a {}'
LONGEST = 5  # words of a name


class Canonicaliser:
    """Rewrites sentences; a name whose words are all known is left as it is."""

    def __init__(self, encoder: TextEncoder, defined: bool = False):
        """Let ``encoder`` say where the known words are; if ``defined``, ask WordNet first."""
        self._encoder = encoder
        self._defined = defined
        self._colour_words, self._shape_words = map(told_apart, (COLOUR_WORDS, SHAPE_WORDS))
        self._colours = self._centres(COLOUR_FRAME, COLOUR_WORDS)
        self._shapes = self._centres(SHAPE_FRAME, SHAPE_WORDS)
        self._found: dict[tuple[str, ...], str] = {}

    def __call__(self, sentence: str) -> str:
        """Return ``sentence`` in words that the encoder knows, as far as it names blocks."""
        words = sentence.split()
        written = []
        while words:
            written.append(words.pop(0))
            if written[-1] == 'the':
                name = beginning_of(words)
                if name and not begins_with_a_name(words):
                    del words[: len(name)]
                    written.append(self._plain(tuple(name)))
        return ' '.join(written)

    def _plain(self, name: tuple[str, ...]) -> str:
        """Return the plain name that is nearest, of all ways to cut colour from shape."""
        if name not in self._found:
            cuts = [(' '.join(name[:k]), ' '.join(name[k:])) for k in range(1, len(name))]
            options = [
                (colour[0] + shape[0], f'{colour[1]} {shape[1]}')
                for colour, shape in (
                    (
                        self._colour(front),
                        self._shape(back),
                    )
                    for front, back in cuts
                )
            ]
            self._found[name] = max(options)[1] if options else ' '.join(name)
        return self._found[name]

    def _colour(self, word: str) -> tuple[float, str]:
        """Return the colour that ``word`` means, and how sure that is."""
        said = colour_votes(word, self._colour_words) if self._defined else {}
        return surest(said) or self._nearest(COLOUR_FRAME, word, self._colours)

    def _shape(self, word: str) -> tuple[float, str]:
        """Return the shape that ``word`` means, and how sure that is."""
        said = shape_votes(word, self._shape_words) if self._defined else {}
        return surest(said) or self._nearest(SHAPE_FRAME, word, self._shapes)

    def _nearest(self, frame: str, word: str, centres: dict[str, np.ndarray]) -> tuple[float, str]:
        """Return the kind of words that ``word`` is nearest to, and how near that is."""
        at = self._embed(frame, word)
        return max((float(at @ centre), kind) for kind, centre in centres.items())

    def _centres(self, frame: str, known: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        """Return the mean of each kind of words, ``(384,)`` each."""
        return {
            kind: np.mean([self._embed(frame, word) for word in words], axis=0)
            for kind, words in known.items()
        }

    def _embed(self, frame: str, word: str) -> np.ndarray:
        """Return the mean token state of a word in its frame, ``(384,)``, of length 1."""
        mean = self._encoder.encode(frame.format(word)).mean(axis=0)
        return mean / np.linalg.norm(mean)


def surest(votes: dict[str, float]) -> tuple[float, str] | None:
    """Return the kind with the most votes, above anything an encoder says; None without votes."""
    if not votes:
        return None
    count, kind = max((count, kind) for kind, count in votes.items())
    return 1.0 + count, kind


def told_apart(known: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Return the single words that are said of one kind only."""
    every = {
        kind: {part for name in names for part in name.split()} for kind, names in known.items()
    }
    times = Counter(part for parts in every.values() for part in parts)
    return {
        kind: frozenset(part for part in parts - ANY_BLOCK if times[part] == 1)
        for kind, parts in every.items()
    }


def beginning_of(words: list[str]) -> list[str]:
    """Return the words before the first one that is no part of a name."""
    ends = [k for k, word in enumerate(words) if word in other_words()]
    name = words[: ends[0] if ends else None]
    return name if len(name) <= LONGEST else []


def begins_with_a_name(words: list[str]) -> bool:
    """Return whether a known colour word and a known shape word come first."""
    return bool(known_name().match(' '.join(words)))


@functools.cache
def known_name() -> re.Pattern:
    """Return what every known name matches."""
    colours, shapes = (
        '|'.join(word for words in kinds.values() for word in words)
        for kinds in (COLOUR_WORDS, SHAPE_WORDS)
    )
    return re.compile(rf'({colours}) ({shapes})\b')


@functools.cache
def other_words() -> frozenset[str]:
    """Return the words of trained sentences and of places that are no part of a block's name."""
    phrases = [
        *(language.VERBS + language.PLACING_VERBS + language.TO_BLOCK + language.BY_BLOCK),
        *(language.TO_PLACE + BEFORE + AFTER),
        *(name for place in PLACES for pair in place_names(place) for name in pair),
        *(re.sub(r'\{\w+\}', '', t) for t in language.TEMPLATES + language.BLOCK_TEMPLATES),
    ]
    nouns = [word for kinds in (COLOUR_WORDS, SHAPE_WORDS) for ws in kinds.values() for word in ws]
    return frozenset(' '.join(phrases).split()) - frozenset(' '.join(nouns).split())
