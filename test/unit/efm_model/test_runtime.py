import dataclasses

from efm_model.runtime import FrameHistory, pad, Runtime
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


def test_the_first_frame_is_its_own_previous_frame():
    history = FrameHistory(np.zeros((3, 384)))
    observations = np.arange(3)
    assert [history.stack_frames(observation).tolist() for observation in observations] == [
        [0, 0],
        [0, 1],
        [1, 2],
    ]


def test_padding_is_zero_and_masked():
    text, mask = pad([np.ones((2, 384)), np.ones((3, 384))])
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert text.sum(axis=2).tolist() == [[384, 384, 0], [384, 384, 384]]
    assert text.dtype == mask.dtype == np.float32
