"""
What an English dictionary says of words that the tower never saw.

The dictionary is WordNet 3.0 as Debian and Ubuntu package it (``wordnet-base``); the format of its
files is that of the manual page wndb(5WN). No Python library reads these files as they are.
"""

from __future__ import annotations

import functools
from pathlib import Path
import re

FOLDER = Path('/usr/share/wordnet')
KINDS_OF_WORD = ('noun', 'adj')
MISSING = f'WordNet: expected {FOLDER}, got no such folder; as root: apt-get install wordnet-base'
OF_COLOURS = frozenset({'color', 'colour', 'shade', 'tint', 'hue'})


def is_installed() -> bool:
    """Return whether the dictionary is on this machine."""
    return (FOLDER / 'data.noun').is_file()


@functools.cache
def _data(kind: str) -> bytes:
    return (FOLDER / f'data.{kind}').read_bytes()


@functools.cache
def _offsets(kind: str) -> dict[str, tuple[int, ...]]:
    """Return where the senses of each word begin, the most usual one first."""
    lines = (FOLDER / f'index.{kind}').read_text().splitlines()
    entries = (line.split() for line in lines if not line.startswith(' '))
    return {entry[0]: tuple(map(int, entry[-int(entry[2]) :])) for entry in entries}


def senses(word: str) -> list[list[str]]:
    """
    Return the words of each definition of ``word`` and of its synonyms, the usual sense first.

    :param word: may have spaces; one that is not in the dictionary has no senses.
    """
    key = word.lower().replace(' ', '_')
    return [_read(k, at, key) for k in KINDS_OF_WORD for at in _offsets(k).get(key, ())]


def _read(kind: str, offset: int, key: str) -> list[str]:
    data = _data(kind)
    head, gloss = data[offset : data.index(b'\n', offset)].decode().split(' | ', 1)
    fields = head.split()
    synonyms = (fields[4 + 2 * k].lower() for k in range(int(fields[3], 16)))
    definition = re.split(r'[;(]', gloss)[0] or gloss
    said = ' '.join(word for word in synonyms if word != key).replace('_', ' ')
    return re.findall('[a-z]+', f'{said} {definition}'.lower())


def colour_votes(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """
    Return how much speaks for each colour; nothing, where the dictionary does not know.

    Only senses that are about a colour count, and of several colours the last one: a
    yellow-green is a green.
    """
    votes: dict[str, float] = {}
    for rank, words in _ranked(name):
        found = [kind for word in words for kind, own in known.items() if word in own]
        if found and (OF_COLOURS & set(words) or rank < 0):
            votes[found[-1]] = votes.get(found[-1], 0.0) + _weight(rank)
    return votes


def shape_votes(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """Return how much speaks for each shape; nothing, where the dictionary does not know."""
    votes: dict[str, float] = {}
    for rank, words in _ranked(name):
        for kind, own in known.items():
            if not own.isdisjoint(words):
                votes[kind] = votes.get(kind, 0.0) + _weight(rank)
    return votes


def _ranked(name: str) -> list[tuple[int, list[str]]]:
    """Return the words of ``name`` itself (rank -1), and of all senses of it and of its parts."""
    parts = dict.fromkeys([name, *name.split()])
    found = [(-1, name.split())]
    return found + [entry for part in parts for entry in enumerate(senses(part))]


def _weight(rank: int) -> float:
    return 10.0 if rank < 0 else 1 / (1 + rank)
