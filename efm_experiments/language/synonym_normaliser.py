"""
Replacement of unknown names of blocks by known ones, before the encoder reads the sentence.

Nothing is retrained. Each unknown name is split into a colour word and a shape word. Each is
replaced by the known word whose embedding of the frozen sentence encoder is nearest. With the
dictionary, its definitions decide first, and the embedding decides for words without a definition.
Sentence frames and similarity were chosen on the words of the split ``synonym``. The reading of
definitions was chosen on those and on the words of ``heldout_sentences``, so that only
``heldout_words`` is a test set for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import functools
import re

from efm_experiments.language.wordnet import ANY_BLOCK, colour_votes, shape_votes
from efm_experiments.table.pretraining import FILLER_AFTER, FILLER_BEFORE
from efm_model.text import TextEncoder
from efm_sim.table import language
from efm_sim.table.language import COLOUR_WORDS, place_names, PLACES, SHAPE_WORDS
import numpy as np

COLOUR_FRAME = 'the colour {}'
SHAPE_FRAME = 'it is a {}'
MAX_WORDS = 5  # of a name


class SynonymNormaliser:
    """Rewrites sentences; names whose words are all known stay unchanged."""

    def __init__(self, encoder: TextEncoder, use_dictionary: bool = False):
        """
        Embed the known words.

        :param encoder: the frozen sentence encoder.
        :param use_dictionary: consult WordNet before the embedding.
        """
        self._encoder = encoder
        self._use_dictionary = use_dictionary
        self._colour_words = unambiguous_words(COLOUR_WORDS)
        self._shape_words = unambiguous_words(SHAPE_WORDS)
        self._colours = self._centres(COLOUR_FRAME, COLOUR_WORDS)
        self._shapes = self._centres(SHAPE_FRAME, SHAPE_WORDS)
        self._found: dict[tuple[str, ...], str] = {}

    def __call__(self, sentence: str) -> str:
        """Return ``sentence`` with every name of a block in known words."""
        words = sentence.split()
        written = []
        while words:
            written.append(words.pop(0))
            if written[-1] == 'the':
                name = leading_name(words)
                if name and not starts_with_known_name(words):
                    del words[: len(name)]
                    written.append(self._plain(tuple(name)))
        return ' '.join(written)

    def _plain(self, name: tuple[str, ...]) -> str:
        """Return the best known name over all splits of ``name`` into colour and shape."""
        if name not in self._found:
            splits = [(' '.join(name[:k]), ' '.join(name[k:])) for k in range(1, len(name))]
            options = []
            for front, back in splits:
                colour_score, colour = self._colour(front)
                shape_score, shape = self._shape(back)
                options.append((colour_score + shape_score, f'{colour} {shape}'))
            self._found[name] = max(options)[1] if options else ' '.join(name)
        return self._found[name]

    def _colour(self, word: str) -> tuple[float, str]:
        """Return the score and the name of the colour that ``word`` means."""
        votes = colour_votes(word, self._colour_words) if self._use_dictionary else {}
        return best_vote(votes) or self._nearest(COLOUR_FRAME, word, self._colours)

    def _shape(self, word: str) -> tuple[float, str]:
        """Return the score and the name of the shape that ``word`` means."""
        votes = shape_votes(word, self._shape_words) if self._use_dictionary else {}
        return best_vote(votes) or self._nearest(SHAPE_FRAME, word, self._shapes)

    def _nearest(self, frame: str, word: str, centres: dict[str, np.ndarray]) -> tuple[float, str]:
        """Return the cosine similarity and the kind of the centre nearest to ``word``."""
        at = self._embed(frame, word)
        return max((float(at @ centre), kind) for kind, centre in centres.items())

    def _centres(self, frame: str, known: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        """Return the mean embedding of each kind of words, ``(384,)`` each."""
        return {
            kind: np.mean([self._embed(frame, word) for word in words], axis=0)
            for kind, words in known.items()
        }

    def _embed(self, frame: str, word: str) -> np.ndarray:
        """Return the normalised mean token state of a word in its sentence frame, ``(384,)``."""
        mean = self._encoder.encode(frame.format(word)).mean(axis=0)
        return mean / np.linalg.norm(mean)


def best_vote(votes: dict[str, float]) -> tuple[float, str] | None:
    """Return score and kind with the most votes; the score exceeds every cosine similarity."""
    if not votes:
        return None
    count, kind = max((count, kind) for kind, count in votes.items())
    return 1.0 + count, kind


def unambiguous_words(known: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Return the single words that belong to one kind only."""
    every = {
        kind: {part for name in names for part in name.split()} for kind, names in known.items()
    }
    times = Counter(part for parts in every.values() for part in parts)
    return {
        kind: frozenset(part for part in parts - ANY_BLOCK if times[part] == 1)
        for kind, parts in every.items()
    }


def leading_name(words: list[str]) -> list[str]:
    """Return the words before the first one that cannot belong to a name of a block."""
    ends = [k for k, word in enumerate(words) if word in non_name_words()]
    name = words[: ends[0] if ends else None]
    return name if len(name) <= MAX_WORDS else []


def starts_with_known_name(words: list[str]) -> bool:
    """Return whether a known colour word and a known shape word come first."""
    return bool(known_name().match(' '.join(words)))


@functools.cache
def known_name() -> re.Pattern[str]:
    """Return a pattern that matches every known name."""
    colours, shapes = (
        '|'.join(word for words in kinds.values() for word in words)
        for kinds in (COLOUR_WORDS, SHAPE_WORDS)
    )
    return re.compile(rf'({colours}) ({shapes})\b')


@functools.cache
def non_name_words() -> frozenset[str]:
    """Return the words of trained sentences and of places that never belong to a block's name."""
    phrases = [
        *(language.VERBS + language.PLACING_VERBS + language.TO_BLOCK + language.BY_BLOCK),
        *(language.TO_PLACE + FILLER_BEFORE + FILLER_AFTER),
        *(name for place in PLACES for pair in place_names(place) for name in pair),
        *(re.sub(r'\{\w+\}', '', t) for t in language.TEMPLATES + language.BLOCK_TEMPLATES),
    ]
    nouns = [word for kinds in (COLOUR_WORDS, SHAPE_WORDS) for ws in kinds.values() for word in ws]
    return frozenset(' '.join(phrases).split()) - frozenset(' '.join(nouns).split())
