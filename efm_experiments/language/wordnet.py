"""
What a dictionary and a colour survey say of words that the encoder never saw.

The dictionary is WordNet 3.0 as Debian and Ubuntu package it (``wordnet-base``); the format of its
files is that of the manual page wndb(5WN). No Python library reads these files as they are. The
survey is xkcd's, 949 names with the colours that people chose for them, as matplotlib brings it.
"""

from __future__ import annotations

from collections.abc import Iterator
import functools
from pathlib import Path
import re

from matplotlib.colors import rgb_to_hsv, to_rgb, XKCD_COLORS

FOLDER = Path('/usr/share/wordnet')
KINDS_OF_WORD = ('noun', 'adj')
MISSING = f'WordNet: expected {FOLDER}, got no such folder; as root: apt-get install wordnet-base'
OF_COLOURS = frozenset({'color', 'colour', 'shade', 'tint', 'hue'})
HUES = {'red': 0.0, 'yellow': 55.0, 'green': 120.0, 'blue': 220.0, 'another': 300.0}  # [degrees]
GREY = 0.15  # a saturation or value below has no hue
SUFFIXES = '(?:s|es|ed|y|ish|dish|like)?'  # boxy, cubes, reddish
ANY_BLOCK = frozenset({'block', 'piece', 'object', 'thing', 'shaped'})  # said of either shape


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
    keys = dict.fromkeys(word.lower().replace(' ', joint) for joint in '_-')
    return [
        _read(kind, at, key)
        for key in keys
        for kind in KINDS_OF_WORD
        for at in _offsets(kind).get(key, ())
    ]


def _read(kind: str, offset: int, key: str) -> list[str]:
    data = _data(kind)
    head, gloss = data[offset : data.index(b'\n', offset)].decode().split(' | ', 1)
    fields = head.split()
    synonyms = (fields[4 + 2 * k].lower() for k in range(int(fields[3], 16)))
    said = ' '.join(word for word in synonyms if word != key).replace('_', ' ')
    return re.findall('[a-z]+', f'{said} {gloss.split(";")[0]}'.lower())


def colour_votes(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """
    Return how much speaks for each colour; nothing, where neither book knows.

    In this order: the name itself, definitions that are about a colour, the survey, and
    definitions of things that have one. Of several colours in a definition the last one counts: a
    yellow-green is a green.
    """
    defined = {}
    mentioned = {}
    for rank, words in _ranked(name, frozenset()):
        found = [kind for word in words for kind in known if _is_among(word, known[kind])]
        if found:
            votes = defined if OF_COLOURS & set(words) or rank < 0 else mentioned
            votes[found[-1]] = votes.get(found[-1], 0.0) + _weight(rank)
    return defined or surveyed(name, known) or mentioned


def surveyed(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """Return a vote for the hue that people gave ``name``; nothing for one that is not known."""
    found = XKCD_COLORS.get(f'xkcd:{name}')
    if found is None:
        return {}
    hue, saturation, value = rgb_to_hsv(to_rgb(found))
    if min(saturation, value) < GREY:
        return {}
    away = {kind: abs((360 * hue - at + 180) % 360 - 180) for kind, at in HUES.items()}
    nearest = min(away, key=away.get)
    return {nearest: 1.0} if nearest in known else {}


def shape_votes(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """Return how much speaks for each shape; nothing, where the dictionary does not know."""
    votes: dict[str, float] = {}
    for rank, words in _ranked(name, ANY_BLOCK):
        for kind, own in known.items():
            if any(_is_among(word, own) for word in words):
                votes[kind] = votes.get(kind, 0.0) + _weight(rank)
    return votes


def _ranked(name: str, without: frozenset[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of ``name`` itself (rank -1), and of all senses of it and of its parts."""
    words = [word for word in name.split() if word not in without]
    yield -1, words
    for part in dict.fromkeys([' '.join(words), *words]):
        yield from enumerate(senses(part))


def _is_among(word: str, known: frozenset[str]) -> bool:
    """Return whether ``word`` is a known one, or says that something is like it."""
    return word in known or any(re.fullmatch(f'{one}{SUFFIXES}', word) for one in known)


def _weight(rank: int) -> float:
    return 10.0 if rank < 0 else 1 / (1 + rank)
