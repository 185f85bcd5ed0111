"""
Colours and shapes of words, by a dictionary and a survey of colour names.

The dictionary is WordNet 3.0 from the Debian and Ubuntu package ``wordnet-base``; its file format
is described in the manual page wndb(5WN). No Python library reads the files of this package. The
survey is xkcd's: 949 names with the colours that people chose for them, as matplotlib ships it.
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
GREY = 0.15  # a colour with a saturation or value below this has no hue
SUFFIXES = '(?:s|es|ed|y|ish|dish|like)?'  # of derived words such as boxy, cubes, reddish
ANY_BLOCK = frozenset({'block', 'piece', 'object', 'thing', 'shaped'})  # words for either shape


def is_installed() -> bool:
    """Return whether the dictionary is installed."""
    return (FOLDER / 'data.noun').is_file()


@functools.cache
def _data(kind: str) -> bytes:
    """Return the file with the definitions of one kind of word."""
    return (FOLDER / f'data.{kind}').read_bytes()


@functools.cache
def _offsets(kind: str) -> dict[str, tuple[int, ...]]:
    """Return the file offsets of each word's senses, the most frequent sense first."""
    lines = (FOLDER / f'index.{kind}').read_text().splitlines()
    entries = (line.split() for line in lines if not line.startswith(' '))
    return {entry[0]: tuple(map(int, entry[-int(entry[2]) :])) for entry in entries}


def senses(word: str) -> list[list[str]]:
    """
    Return the words of each definition and its synonyms, the most frequent sense first.

    :param word: may contain spaces; an unknown word has no senses.
    """
    keys = dict.fromkeys(word.lower().replace(' ', joint) for joint in '_-')
    return [
        _read(kind, at, key)
        for key in keys
        for kind in KINDS_OF_WORD
        for at in _offsets(kind).get(key, ())
    ]


def _read(kind: str, offset: int, key: str) -> list[str]:
    """Return the words of one sense: its synonyms without ``key``, then its definition."""
    data = _data(kind)
    head, gloss = data[offset : data.index(b'\n', offset)].decode().split(' | ', 1)
    fields = head.split()
    synonyms = (fields[4 + 2 * k].lower() for k in range(int(fields[3], 16)))
    listed = ' '.join(word for word in synonyms if word != key).replace('_', ' ')
    return re.findall('[a-z]+', f'{listed} {gloss.split(";")[0]}'.lower())


def colour_votes(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """
    Return the votes for each colour; empty if neither dictionary nor survey has one.

    The first source with a vote counts: the name itself and definitions of colours, then the
    survey, then definitions of objects with a colour. Of several colours in a definition the last
    one counts: yellow-green is a green.

    :param known: the known words of each colour.
    """
    defined: dict[str, float] = {}
    mentioned: dict[str, float] = {}
    for rank, words in _ranked(name, frozenset()):
        found = [kind for word in words for kind in known if _is_among(word, known[kind])]
        if found:
            votes = defined if OF_COLOURS & set(words) or rank < 0 else mentioned
            votes[found[-1]] = votes.get(found[-1], 0.0) + _weight(rank)
    return defined or surveyed(name, known) or mentioned


def surveyed(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """Return a vote for the hue of ``name`` in the survey; empty if it is unknown or grey."""
    found = XKCD_COLORS.get(f'xkcd:{name}')
    if found is None:
        return {}
    hue, saturation, value = rgb_to_hsv(to_rgb(found))
    if min(saturation, value) < GREY:
        return {}
    away = {kind: abs((360 * hue - at + 180) % 360 - 180) for kind, at in HUES.items()}
    nearest = min(away, key=lambda kind: away[kind])
    return {nearest: 1.0} if nearest in known else {}


def shape_votes(name: str, known: dict[str, frozenset[str]]) -> dict[str, float]:
    """
    Return the votes for each shape; empty if the dictionary has none.

    :param known: the known words of each shape.
    """
    votes: dict[str, float] = {}
    for rank, words in _ranked(name, ANY_BLOCK):
        for kind, own in known.items():
            if any(_is_among(word, own) for word in words):
                votes[kind] = votes.get(kind, 0.0) + _weight(rank)
    return votes


def _ranked(name: str, without: frozenset[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of ``name`` (rank -1), then those of each sense of it and of its parts."""
    words = [word for word in name.split() if word not in without]
    yield -1, words
    for part in dict.fromkeys([' '.join(words), *words]):
        yield from enumerate(senses(part))


def _is_among(word: str, known: frozenset[str]) -> bool:
    """Return whether ``word`` is a known word or is derived from one."""
    return word in known or any(re.fullmatch(f'{one}{SUFFIXES}', word) for one in known)


def _weight(rank: int) -> float:
    """Return the weight of a sense's vote."""
    return 10.0 if rank < 0 else 1 / (1 + rank)
