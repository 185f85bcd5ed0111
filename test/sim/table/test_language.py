"""The instructions of tasks."""

from __future__ import annotations

from collections import Counter
import itertools

from efm_sim.table import language
from efm_sim.table.language import HELD_OUT_PAIRS, phrase, Task, tasks, TYPES, types_in
import numpy as np
import pytest


def sentences(split: str, count: int = 400) -> list[str]:
    rng = np.random.default_rng(0)
    options = tasks('both', split)
    return [phrase(options[rng.integers(len(options))], rng, split) for _ in range(count)]


def all_words(*tables: dict) -> list[str]:
    return [word for table in tables for words in table.values() for word in words]


def test_instructions_include_the_plain_words_of_a_block():
    rng = np.random.default_rng(0)
    found = {phrase(Task('red_cube', 'blue_cylinder'), rng, plain=1.0) for _ in range(500)}
    assert 'push the red cube to the blue cylinder' in found


def test_instructions_include_a_corner():
    rng = np.random.default_rng(0)
    found = {phrase(Task('red_cube', 'top_left'), rng, plain=1.0) for _ in range(2000)}
    assert 'put the red cube in the top left corner' in found


@pytest.mark.parametrize('place', language.PLACES)
def test_every_place_has_several_names_of_its_own(place):
    others = {
        name
        for other in language.PLACES
        if other != place
        for _, name in language.place_names(other)
    }
    own = {name for _, name in language.place_names(place)}
    assert len(own) >= 4
    assert not own & others


@pytest.mark.parametrize(
    'tables',
    [
        (language.COLOUR_WORDS, language.UNSEEN_COLOUR_WORDS),
        (language.SHAPE_WORDS, language.UNSEEN_SHAPE_WORDS),
    ],
)
def test_no_word_has_two_meanings_and_no_held_out_word_is_in_training(tables):
    assert max(Counter(all_words(*tables)).values()) == 1


def test_each_colour_and_shape_has_at_least_ten_words():
    assert all(
        len(words) >= 10
        for table in (language.COLOUR_WORDS, language.SHAPE_WORDS)
        for words in table.values()
    )


def test_no_two_types_share_a_noun_phrase():
    names = [
        f'{colour} {shape}'
        for colours in language.COLOUR_WORDS.values()
        for colour in colours
        for shapes in language.SHAPE_WORDS.values()
        for shape in shapes
    ]
    assert max(Counter(names).values()) == 1


def test_the_bare_word_block_is_absent():
    words = all_words(language.SHAPE_WORDS, language.UNSEEN_SHAPE_WORDS)
    assert 'block' not in words


def test_training_excludes_the_10_held_out_pairs_of_56():
    trained = tasks('block_to_block')
    assert len(trained) == 46
    assert not set(trained) & set(HELD_OUT_PAIRS)
    assert set(tasks('both', 'pairs')) == set(HELD_OUT_PAIRS)


def test_training_has_every_type_in_both_roles():
    trained = tasks('block_to_block')
    assert {task.source for task in trained} == {task.target for task in trained} == set(TYPES)


def test_held_out_phrasings_have_no_verb_of_training():
    trained_verbs = set(language.VERBS + language.PLACING_VERBS)
    assert not any(
        word in trained_verbs for sentence in sentences('phrasing') for word in sentence.split()
    )
    assert not set(language.UNSEEN_VERBS) & {
        word for sentence in sentences('train') for word in sentence.split()
    }


def test_training_has_no_held_out_synonym():
    unseen = {
        f' {word} '
        for word in all_words(language.UNSEEN_COLOUR_WORDS, language.UNSEEN_SHAPE_WORDS)
    }
    assert not [
        (word, sentence)
        for sentence in sentences('train', 2000)
        for word in unseen
        if word in f'{sentence} '
    ]


def test_instructions_are_diverse_and_short():
    train = sentences('train', 1000)
    assert len(set(train)) > 800
    assert max(len(sentence) for sentence in train) < 120
    assert not [
        sentence for sentence in train if '{' in sentence or sentence != sentence.strip().lower()
    ]


def test_equal_generators_give_equal_instructions():
    assert sentences('train', 20) == sentences('train', 20)


def test_types_in_returns_the_blocks_of_a_task():
    assert types_in(Task('red_cube', 'blue_cube')) == ('red_cube', 'blue_cube')
    assert types_in(Task('red_cube', 'top')) == ('red_cube',)


@pytest.mark.parametrize(
    ('source', 'target'),
    [('red_moon', 'top'), ('red_cube', 'red_cube'), ('red_cube', 'outside'), ('top', 'red_cube')],
)
def test_an_invalid_task_is_refused(source, target):
    with pytest.raises(ValueError, match='expected'):
        Task(source, target)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match='split: expected one of train, phrasing, synonym, pairs'):
        phrase(Task('red_cube', 'top'), np.random.default_rng(0), 'test')


def test_tasks_are_all_pairs_and_all_places_except_the_held_out_ones():
    assert len(tasks()) == 56 - 10 + 8 * 9
    assert {(task.source, task.target) for task in tasks('block_to_place')} == set(
        itertools.product(TYPES, language.PLACES)
    )
