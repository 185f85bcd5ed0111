from __future__ import annotations

import re

from efm_experiments.config import make_tables
from efm_experiments.language import heldout_sentences, heldout_words, wordnet
from efm_experiments.language.heldout_sentences import (
    RephrasedTable,
    write_heldout_names,
    write_heldout_pattern,
)
from efm_experiments.language.synonym_normaliser import SynonymNormaliser
from efm_experiments.table.pretraining import FILLER_AFTER, FILLER_BEFORE
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_sim.table import language
from efm_sim.table.language import phrase, SPLITS, tasks
import numpy as np
import pytest

KNOWN_PATTERNS = language.TEMPLATES + language.BLOCK_TEMPLATES + language.UNSEEN_TEMPLATES
KNOWN_RELATIONS = (
    *(language.TO_BLOCK + language.BY_BLOCK + language.UNSEEN_TO_BLOCK),
    *(language.TO_PLACE + language.UNSEEN_TO_PLACE),
)
COLOURS = {name: frozenset({name}) for name in ('green', 'yellow')}
KNOWN_VERBS = language.VERBS + language.PLACING_VERBS + language.UNSEEN_VERBS


@pytest.fixture(scope='module')
def encoder():
    return TextEncoder(ensure_text_encoder(), cache_size=10_000)


def all_words(phrases) -> set[str]:
    return set(re.sub(r'\{\w+\}', '', ' '.join(phrases)).split())


def test_held_out_verbs_occur_nowhere_else():
    known = all_words(
        KNOWN_PATTERNS + KNOWN_RELATIONS + KNOWN_VERBS + FILLER_BEFORE + FILLER_AFTER
    )
    assert not known & all_words(heldout_sentences.VERBS)


def test_held_out_prepositions_are_in_no_split():
    mine = heldout_sentences.TO_BLOCK + heldout_sentences.TO_PLACE + heldout_sentences.BY_BLOCK
    assert not [
        one for one in mine if any(known in one for known in KNOWN_RELATIONS if ' ' in known)
    ]
    assert not set(mine) & set(KNOWN_RELATIONS)
    assert not all_words(mine) & (
        all_words(KNOWN_RELATIONS) - {'to', 'of', 'in', 'with', 'the', 'by'}
    )


def test_held_out_patterns_are_in_no_split():
    def skeleton(pattern: str) -> str:
        return re.sub(r'\{\w+\}', '_', pattern)

    known = {skeleton(pattern) for pattern in KNOWN_PATTERNS}
    with_filler = {
        f'{a} _ _ _ _ {b}'.strip() for a in ('', *FILLER_BEFORE) for b in ('', *FILLER_AFTER)
    }
    mine = {skeleton(pattern) for pattern in heldout_sentences.PATTERNS}
    assert len(mine) == 30
    assert not mine & (known | with_filler)
    assert not [p for p in mine for end in FILLER_BEFORE if p.startswith(f'{end} ')]
    assert not [p for p in mine for end in FILLER_AFTER if p.endswith(f' {end}')]


@pytest.mark.parametrize('what', ['COLOUR_WORDS', 'SHAPE_WORDS'])
def test_held_out_names_are_in_no_split(what):
    known = [
        w
        for name in (what, f'UNSEEN_{what}')
        for ws in getattr(language, name).values()
        for w in ws
    ]
    mine = [word for words in getattr(heldout_sentences, what).values() for word in words]
    assert len(mine) == len(set(mine))
    plain = {*language.COLOURS, 'block', 'piece', 'object', 'shaped'}
    assert not all_words(mine) & (all_words(known) - plain)


def test_no_held_out_sentence_belongs_to_a_split():
    rng = np.random.default_rng(0)
    options = tasks()
    mine = {write_heldout_pattern(options[rng.integers(len(options))], rng) for _ in range(2000)}
    others = {
        phrase(task, rng, split)
        for split in SPLITS
        for task in tasks('both', split)
        for _ in range(20)
    }
    assert len(mine) > 1500
    assert not mine & others


def test_every_held_out_sentence_is_complete_and_accepted(encoder):
    rng = np.random.default_rng(1)
    options = tasks()
    for make in (write_heldout_pattern, write_heldout_names):
        for _ in range(30):
            sentence = make(options[rng.integers(len(options))], rng)
            assert '{' not in sentence
            assert encoder.encode(sentence).shape[1] == 384


def test_a_rephrased_table_changes_the_instruction_only():
    (table,) = make_tables(1, 'tool', 'train')
    table.reset(5)
    written = table.instruction
    (seen,) = table.images()
    asked = RephrasedTable(table, lambda table, seed: f'{table.task.source} {seed}')
    asked.reset(5)
    assert asked.instruction == f'{table.task.source} 5' != written
    np.testing.assert_array_equal(asked.images()[0], seen)


@pytest.mark.parametrize('split', ['train', 'phrasing', 'pairs'])
def test_known_names_stay_unchanged(encoder, split):
    normalise = SynonymNormaliser(encoder)
    rng = np.random.default_rng(0)
    for task in tasks('both', split)[:40]:
        sentence = phrase(task, rng, split)
        assert normalise(sentence) == sentence


def test_unknown_names_become_known_ones(encoder):
    normalise = SynonymNormaliser(encoder)
    written = normalise('push the crimson cuboid towards the navy tube please')
    assert written == 'push the red cube towards the blue cylinder please'
    place = 'push the crimson cuboid to the upper left corner of the table'
    assert normalise(place) == 'push the red cube to the upper left corner of the table'


@pytest.mark.skipif(not wordnet.is_installed(), reason=wordnet.MISSING)
def test_the_dictionary_knows_words_that_the_encoder_confuses(encoder):
    normalise = SynonymNormaliser(encoder, use_dictionary=True)
    for colour, words in language.UNSEEN_COLOUR_WORDS.items():
        for word in words:
            assert normalise(f'push the {word} jar') == f'push the {colour} cylinder'
    for shape, words in language.UNSEEN_SHAPE_WORDS.items():
        for word in words:
            assert normalise(f'push the navy {word}') == f'push the blue {shape}'


def test_the_survey_gives_the_hue_of_a_colour_name():
    colours = {name: frozenset() for name in ('red', 'blue', 'green', 'yellow')}
    assert wordnet.surveyed('raspberry', colours) == {'red': 1.0}
    assert wordnet.surveyed('denim', colours) == {'blue': 1.0}
    assert wordnet.surveyed('grape', colours) == {}  # a purple is none of them
    assert wordnet.surveyed('charcoal', colours) == {}
    assert wordnet.surveyed('no such name', colours) == {}


def test_the_words_of_the_second_test_set_are_in_no_other_set():
    known = (language.COLOUR_WORDS, language.UNSEEN_COLOUR_WORDS, heldout_sentences.COLOUR_WORDS)
    shapes = (language.SHAPE_WORDS, language.UNSEEN_SHAPE_WORDS, heldout_sentences.SHAPE_WORDS)
    for own, others in ((heldout_words.COLOUR_WORDS, known), (heldout_words.SHAPE_WORDS, shapes)):
        taken = {word for other in others for words in other.values() for word in words}
        assert taken.isdisjoint(word for words in own.values() for word in words)


@pytest.fixture
def small_dictionary(tmp_path, monkeypatch):
    """Two senses of olive, in the format of wndb(5WN)."""
    fruit = '00000000 13 n 01 olive 0 000 | a small green fruit; "olives and yellow wine"\n'
    hue = f'{len(fruit):08d} 07 n 01 olive 0 000 | a yellow-green color (of a fruit)\n'
    (tmp_path / 'data.noun').write_text(fruit + hue)
    (tmp_path / 'index.noun').write_text(f'olive n 2 0 2 0 00000000 {len(fruit):08d}\n')
    (tmp_path / 'data.adj').write_text('')
    (tmp_path / 'index.adj').write_text('')
    monkeypatch.setattr(wordnet, 'FOLDER', tmp_path)
    read = (wordnet._data, wordnet._offsets)
    for one in read:
        one.cache_clear()
    yield
    for one in read:
        one.cache_clear()


def test_definitions_of_colours_come_first_and_the_last_colour_in_them_counts(small_dictionary):
    assert wordnet.senses('olive')[0] == ['a', 'small', 'green', 'fruit']
    assert wordnet.colour_votes('olive', COLOURS) == {'green': 1 / 2}
    assert wordnet.colour_votes('olive yellow', COLOURS) == {'green': 1 / 2, 'yellow': 10.0}
    assert wordnet.senses('olives') == []
    assert wordnet.colour_votes('olives', COLOURS) == {}


def test_words_derived_from_a_known_shape_have_that_shape(small_dictionary):
    shapes = {'cube': frozenset({'box', 'cube'}), 'cylinder': frozenset({'round', 'can'})}
    assert wordnet.shape_votes('boxy object', shapes) == {'cube': 10.0}
    assert wordnet.shape_votes('rounded block', shapes) == {'cylinder': 10.0}
    assert wordnet.shape_votes('canal', shapes) == {}
