"""Which text can be an instruction; checked where it is recorded, read and encoded."""

from __future__ import annotations

import unicodedata

from efm_core.config import expect

LONGEST_INSTRUCTION = 500  # characters; the text encoder takes 64 word pieces, about 300


def check_instruction(sentence: str, language: str = 'en') -> None:
    """
    Refuse text that is no instruction; an English one is in Latin letters.

    :param language: two-letter code (ISO 639-1).
    :raises ValueError: when it is blank, too long, not printable, or in another script.
    """
    expect(bool(sentence.strip()), 'instruction', 'a sentence', f'an empty one: {sentence!r}')
    short = len(sentence) <= LONGEST_INSTRUCTION
    expect(short, 'instruction', f'at most {LONGEST_INSTRUCTION} characters', len(sentence))
    expect(sentence.isprintable(), 'instruction', 'printable characters', repr(sentence))
    if language != 'en':
        return
    letters = [letter for letter in sentence if letter.isalpha()]
    latin = sum(unicodedata.name(letter, '').startswith('LATIN') for letter in letters)
    wanted = 'a sentence in Latin letters, because the text encoder knows English only'
    expect(0 < len(letters) <= 2 * latin, 'instruction', wanted, repr(sentence))
