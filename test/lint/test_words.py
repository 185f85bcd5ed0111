"""Words that must not come back: old names, and phrases that a first reader must decode."""

from __future__ import annotations

import re

import pytest
from sources import name, tracked_files

# Pattern to what is written instead; docs/glossary.md explains the words.
INSTEAD = {
    r'judg(e|es|ed|ing|ement|ements)': 'reward model, predict, steps-to-go prediction',
    r'towers?': 'encoder',
    r'spools?': 'inbox, or the folder of the bags',
    r'ledgers?': 'ingest log',
    r'glimpses?': 'model inputs',
    r'leave to move|leases?': 'permit',
    r'what (acts|learns)': 'the deployed policy, the trained policy',
    r'what came of': 'the result of',
    r'who(so)?ever': 'name the part',
    r'who demonstrates': 'the demonstrator',
    r'(is|are|was|were) told': 'receives',
    r'hears?( of)?': 'receives, discovers',
    r'comes? late': 'late subscribers',
    r'(no|some|any)body': 'name the part, or "a person"',
    r'with (its|their) manners': 'a simulated driver',
    r'teachers?(?! forcing)': 'demonstrator',
}
PATTERN = re.compile(rf'\b(?:{"|".join(INSTEAD)})\b', re.IGNORECASE)
FOLDERS = ('docs', 'config', 'launch', 'benchmarks', 'efm')
# The language of the tasks has words of its own.
NOT_HERE = re.compile(
    r'docs/results/|efm_model/weights/|efm_sim/table/language\.py|efm_experiments/language/'
)
PROSE = {'.md', '.py', '.yaml', '.msg', '.srv', '.action'}


def is_prose(path: str) -> bool:
    """Return whether a file is read by users: pages, interfaces, configurations, our code."""
    top = path.split('/')[0]
    listed = top.endswith('.md') or top.startswith(FOLDERS)
    return listed and not NOT_HERE.match(path)


PAPERS = [
    path
    for path in tracked_files()
    if path.suffix in PROSE and path.is_file() and is_prose(name(path))
]


@pytest.mark.parametrize('folder', sorted({name(path).split('/')[0] for path in PAPERS}))
def test_no_word_of_the_old_dialect_is_used(folder):
    found = [
        f'{name(path)}:{number}: {match[0]}'
        for path in PAPERS
        if name(path).split('/')[0] == folder
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in PATTERN.finditer(line)
    ]
    assert not found, (
        f'{len(found)} old words; INSTEAD in test/lint/test_words.py has the new ones'
    )


@pytest.mark.parametrize('text', ['The judge', 'is told', 'Nobody acts', 'a lease', 'the Tower'])
def test_the_pattern_finds_an_old_word(text):
    assert PATTERN.search(text)


@pytest.mark.parametrize('text', ['the reward model receives it', 'a release', 'it appears here'])
def test_the_pattern_leaves_plain_words(text):
    assert not PATTERN.search(text)
