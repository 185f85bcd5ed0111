import dataclasses

from efm_core.observation import Observation
from efm_model.export import example_inputs
from efm_model.network import new_model
from efm_model.runtime import model_inputs, ObservationHistory, pad, Runtime
from models import exported, table_arm
import numpy as np
import pytest


def test_another_embodiment_is_refused_with_both_hashes():
    other = dataclasses.replace(table_arm(), control_rate_hz=20.0)
    with pytest.raises(
        ValueError, match=f'expected embodiment {other.hash}.*got {table_arm().hash}'
    ):
        Runtime(exported('policy'), 'policy', embodiment=other)


def test_a_reward_model_is_refused_as_a_policy():
    with pytest.raises(ValueError, match='expected kind policy, got reward'):
        Runtime(exported('reward'), 'policy', embodiment=table_arm())


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / 'policy.onnx').write_bytes(exported('policy').read_bytes()[:5000])
    with pytest.raises(ValueError, match='policy: expected a readable ONNX file'):
        Runtime(tmp_path / 'policy.onnx', 'policy', embodiment=table_arm())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.onnx'):
        Runtime(tmp_path / 'none.onnx', 'policy', embodiment=table_arm())


@pytest.mark.parametrize('numbers', [0, 2])
def test_the_first_observation_is_its_own_previous_observation(numbers):
    history = ObservationHistory(np.zeros((3, 384)))
    images = np.arange(3, dtype=np.uint8)[:, None, None, None]
    states = np.arange(3, dtype=np.float32)[:, None].repeat(numbers, axis=1)
    pairs = [history.pair(observation) for observation in Observation((images,), states)]
    expected = [[0, 0], [0, 1], [1, 2]]
    assert [pair.images[0].ravel().tolist() for pair in pairs] == expected
    assert [pair.proprioception.T.tolist() for pair in pairs] == [[e] * numbers for e in expected]


def test_model_inputs_name_every_camera_and_the_proprioception():
    images = tuple(np.full((2, 2, 3), value, np.uint8) for value in (1, 2, 3))
    both = Observation(images, np.float32([4, 5])), Observation(images, np.float32([6, 7]))
    histories = [ObservationHistory(np.zeros((length, 8), np.float32)) for length in (3, 1)]
    inputs = model_inputs(histories, both)
    assert {name: value.shape for name, value in inputs.items()} == {
        'observations': (2, 2, 2, 2, 3),
        'observations_1': (2, 2, 2, 2, 3),
        'observations_2': (2, 2, 2, 2, 3),
        'proprioception': (2, 2, 2),
        'text': (2, 3, 8),
        'text_mask': (2, 3),
    }
    assert [int(inputs[name].max()) for name in list(inputs)[:3]] == [1, 2, 3]
    assert inputs['proprioception'][:, 1].tolist() == [[4, 5], [6, 7]]


def test_one_camera_without_proprioception_has_no_further_input():
    seen = Observation.of(np.zeros((2, 2, 3), np.uint8))
    inputs = model_inputs([ObservationHistory(np.zeros((1, 8), np.float32))], [seen])
    assert list(inputs) == ['observations', 'text', 'text_mask']


def test_a_model_takes_its_own_inputs_and_leaves_the_others():
    runtime = Runtime(exported('reward'), 'reward', embodiment=table_arm())
    inputs = example_inputs(new_model(table_arm(), pretrained='none'), 'reward', 2)
    expected = runtime.run(**inputs)['probabilities']
    found = runtime.run(**inputs, proprioception=np.zeros((2, 2, 3), np.float32))
    np.testing.assert_array_equal(found['probabilities'], expected)


def test_an_input_that_a_model_needs_and_does_not_get_is_named():
    runtime = Runtime(exported('reward'), 'reward', embodiment=table_arm())
    inputs = example_inputs(new_model(table_arm(), pretrained='none'), 'reward', 1)
    del inputs['text_mask']
    with pytest.raises(ValueError, match='model version 7: expected the inputs text_mask too'):
        runtime.run(**inputs)


def test_padding_is_zero_and_masked():
    text, mask = pad([np.ones((2, 384)), np.ones((3, 384))])
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert text.sum(axis=2).tolist() == [[384, 384, 0], [384, 384, 384]]
    assert text.dtype == mask.dtype == np.float32
