from __future__ import annotations

import re

from efm_experiments.config import worlds
from efm_experiments.language import heldout_sentences, heldout_words, wordnet
from efm_experiments.language.heldout_sentences import Asked, rename, rephrase
from efm_experiments.language.synonym_normaliser import Canonicaliser
from efm_experiments.table.pretraining import AFTER, BEFORE
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


def test_fresh_verbs_occur_nowhere_else():
    known = all_words(KNOWN_PATTERNS + KNOWN_RELATIONS + KNOWN_VERBS + BEFORE + AFTER)
    assert not known & all_words(heldout_sentences.VERBS)


def test_fresh_prepositions_are_in_no_split():
    mine = heldout_sentences.TO_BLOCK + heldout_sentences.TO_PLACE + heldout_sentences.BY_BLOCK
    assert not [
        one for one in mine if any(known in one for known in KNOWN_RELATIONS if ' ' in known)
    ]
    assert not set(mine) & set(KNOWN_RELATIONS)
    assert not all_words(mine) & (
        all_words(KNOWN_RELATIONS) - {'to', 'of', 'in', 'with', 'the', 'by'}
    )


def test_fresh_patterns_are_in_no_split():
    def skeleton(pattern: str) -> str:
        return re.sub(r'\{\w+\}', '_', pattern)

    known = {skeleton(pattern) for pattern in KNOWN_PATTERNS}
    chatter = {f'{a} _ _ _ _ {b}'.strip() for a in ('', *BEFORE) for b in ('', *AFTER)}
    mine = {skeleton(pattern) for pattern in heldout_sentences.PATTERNS}
    assert len(mine) == 30
    assert not mine & (known | chatter)
    assert not [p for p in mine for end in BEFORE if p.startswith(f'{end} ')]
    assert not [p for p in mine for end in AFTER if p.endswith(f' {end}')]


@pytest.mark.parametrize('what', ['COLOUR_WORDS', 'SHAPE_WORDS'])
def test_fresh_names_are_in_no_split(what):
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


def test_no_fresh_sentence_can_be_said_in_a_split():
    rng = np.random.default_rng(0)
    options = tasks()
    mine = {rephrase(options[rng.integers(len(options))], rng) for _ in range(2000)}
    others = {
        phrase(task, rng, split)
        for split in SPLITS
        for task in tasks('both', split)
        for _ in range(20)
    }
    assert len(mine) > 1500
    assert not mine & others


def test_every_fresh_sentence_is_complete_and_accepted(encoder):
    rng = np.random.default_rng(1)
    options = tasks()
    for make in (rephrase, rename):
        for _ in range(30):
            sentence = make(options[rng.integers(len(options))], rng)
            assert '{' not in sentence
            assert encoder.encode(sentence).shape[1] == 384


def test_only_the_sentence_of_a_scene_is_another_one():
    (table,) = worlds(1, 'tool', 'train')
    table.reset(5)
    said = table.instruction
    seen = table.render()
    asked = Asked(table, lambda table, seed: f'{table.task.source} {seed}')
    asked.reset(5)
    assert asked.instruction == f'{table.task.source} 5' != said
    np.testing.assert_array_equal(asked.render(), seen)


@pytest.mark.parametrize('split', ['train', 'phrasing', 'pairs'])
def test_known_names_are_left_as_they_are(encoder, split):
    plain = Canonicaliser(encoder)
    rng = np.random.default_rng(0)
    for task in tasks('both', split)[:40]:
        sentence = phrase(task, rng, split)
        assert plain(sentence) == sentence


def test_unknown_names_become_plain_ones(encoder):
    plain = Canonicaliser(encoder)
    said = plain('push the crimson cuboid towards the navy tube please')
    assert said == 'push the red cube towards the blue cylinder please'
    place = 'push the crimson cuboid to the upper left corner of the table'
    assert plain(place) == 'push the red cube to the upper left corner of the table'


@pytest.mark.skipif(not wordnet.is_installed(), reason=wordnet.MISSING)
def test_a_dictionary_defines_what_the_encoder_cannot_tell(encoder):
    plain = Canonicaliser(encoder, defined=True)
    for colour, words in language.UNSEEN_COLOUR_WORDS.items():
        for word in words:
            assert plain(f'push the {word} jar') == f'push the {colour} cylinder'
    for shape, words in language.UNSEEN_SHAPE_WORDS.items():
        for word in words:
            assert plain(f'push the navy {word}') == f'push the blue {shape}'


def test_people_were_asked_what_colour_a_name_is():
    colours = {name: frozenset() for name in ('red', 'blue', 'green', 'yellow')}
    assert wordnet.surveyed('raspberry', colours) == {'red': 1.0}
    assert wordnet.surveyed('denim', colours) == {'blue': 1.0}
    assert wordnet.surveyed('grape', colours) == {}  # a purple is none of them
    assert wordnet.surveyed('charcoal', colours) == {}
    assert wordnet.surveyed('nobody says so', colours) == {}


def test_the_words_of_the_last_test_set_are_in_no_other():
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


def test_definitions_about_a_colour_come_first_and_of_several_colours_the_last(small_dictionary):
    assert wordnet.senses('olive')[0] == ['a', 'small', 'green', 'fruit']
    assert wordnet.colour_votes('olive', COLOURS) == {'green': 1 / 2}
    assert wordnet.colour_votes('olive yellow', COLOURS) == {'green': 1 / 2, 'yellow': 10.0}
    assert wordnet.senses('olives') == []
    assert wordnet.colour_votes('olives', COLOURS) == {}


def test_what_is_like_a_known_shape_has_it(small_dictionary):
    shapes = {'cube': frozenset({'box', 'cube'}), 'cylinder': frozenset({'round', 'can'})}
    assert wordnet.shape_votes('boxy object', shapes) == {'cube': 10.0}
    assert wordnet.shape_votes('rounded block', shapes) == {'cylinder': 10.0}
    assert wordnet.shape_votes('canal', shapes) == {}
