from dataclasses import replace

from efm_core.embodiment import Proprioception
from efm_model.checkpoint import load_checkpoint, save_checkpoint
from efm_model.export import example_inputs, export_policy, export_reward, parity
from efm_model.runtime import Runtime
from efm_model.torch_runtime import share_frozen_encoder
from efm_model.visuomotor import (
    CAMERA_FEATURES,
    CameraEncoder,
    new_visuomotor,
    pool_matrix,
    Standardiser,
)
import numpy as np
import pytest
import torch
from visuomotor import gripper_arm

ROBOT = gripper_arm()


def inputs_of(model, count=3):
    found = example_inputs(model, 'reward', count)
    return {name: torch.from_numpy(value) for name, value in found.items()}


def test_features_have_a_part_for_each_camera_and_two_numbers_for_each_measured_one():
    model = new_visuomotor(ROBOT)
    features = model.features(inputs_of(model))
    assert features.shape == (3, 2 * CAMERA_FEATURES + 2 * 3)
    assert features.dtype == torch.float32


def test_a_robot_without_measured_state_needs_none():
    model = new_visuomotor(replace(ROBOT, proprioception=()))
    assert set(inputs_of(model)) == {'observations', 'observations_1', 'text', 'text_mask'}
    assert model.features(inputs_of(model)).shape == (3, 2 * CAMERA_FEATURES)


def test_cameras_of_one_role_and_size_share_an_encoder():
    cameras = ROBOT.cameras
    left, right = (replace(cameras[0], name=name, topic=name) for name in ('left', 'right'))
    larger = replace(right, size=(32, 32))
    assert len(new_visuomotor(ROBOT).encoder.cameras) == 2
    assert len(new_visuomotor(replace(ROBOT, cameras=(left, right))).encoder.cameras) == 1
    assert len(new_visuomotor(replace(ROBOT, cameras=(left, larger))).encoder.cameras) == 2


@pytest.mark.parametrize('changed', ['observations', 'observations_1', 'proprioception', 'text'])
def test_each_input_changes_the_features(changed):
    model = new_visuomotor(ROBOT)
    torch.nn.init.normal_(model.encoder.cameras['scene_24x24'].film.weight)
    inputs = inputs_of(model)
    other = {**inputs, changed: inputs[changed].flip(0)}
    assert not torch.allclose(model.features(inputs), model.features(other))


def test_padding_of_the_instruction_changes_nothing():
    model = new_visuomotor(ROBOT)
    torch.nn.init.normal_(model.encoder.cameras['scene_24x24'].film.weight)
    inputs = inputs_of(model)
    inputs['text_mask'][:, 5:] = 0
    other = {**inputs, 'text': inputs['text'].clone()}
    other['text'][:, 5:] = 7
    torch.testing.assert_close(model.features(inputs), model.features(other))


@pytest.mark.parametrize('size', [(16, 16), (48, 64), (96, 96), (130, 100), (224, 224)])
def test_frames_of_any_size_give_as_many_features(size):
    encoder = CameraEncoder(size)
    assert encoder(torch.zeros(1, 6, *size), None).shape == (1, CAMERA_FEATURES)


def test_pooling_averages_as_adaptive_pooling_does():
    values = torch.randn(1, 4, 12, 7)
    pooled = pool_matrix(12, 8) @ values @ pool_matrix(7, 8).T
    expected = torch.nn.functional.adaptive_avg_pool2d(values, (8, 7))
    torch.testing.assert_close(pooled, expected)


def test_a_measured_number_and_its_change_are_in_standard_deviations():
    standardiser = Standardiser(2)
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    standardiser.fit(values, torch.tensor([[2.0, 0.0], [-2.0, 0.0]]))
    pairs = torch.tensor([[[1.0, 5.0], [2.5, 5.5]]])
    # means 2 and 5; deviations 1 and none, of the changes 2 and none
    torch.testing.assert_close(standardiser(pairs), torch.tensor([[0.5, 0.5, 0.75, 0.5]]))


def test_a_measured_number_far_outside_of_the_training_data_is_clipped():
    standardiser = Standardiser(1)
    standardiser.fit(torch.tensor([[0.0], [0.02]]), torch.tensor([[0.01], [-0.01]]))
    assert standardiser(torch.tensor([[[0.0], [9.0]]])).tolist() == [[5.0, 5.0]]


def test_checkpoint_and_export_hold_the_statistics_of_the_measured_state(tmp_path):
    model = new_visuomotor(ROBOT)
    values = torch.randn(50, 3) * 4 + 10
    model.encoder.standardiser.fit(values, values)
    save_checkpoint(tmp_path / 'policy', model, ROBOT, 'policy', 1)
    loaded, _ = load_checkpoint(tmp_path / 'policy', ROBOT)
    assert loaded.config == model.config
    inputs = inputs_of(model)
    torch.testing.assert_close(loaded.features(inputs), model.features(inputs))
    path = export_reward(model, tmp_path / 'reward.onnx', ROBOT, 1)
    exported = Runtime(path, 'reward', embodiment=ROBOT)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    with torch.no_grad():
        logits = model.steps_to_go_logits(model.features(inputs))
    expected = torch.softmax(logits, dim=-1).numpy()
    np.testing.assert_allclose(exported.run(**arrays)['probabilities'], expected, atol=1e-5)


@pytest.mark.parametrize('chunk', [1, 3])
def test_an_exported_file_passes_the_parity_test(tmp_path, chunk):
    robot = replace(ROBOT, action=replace(ROBOT.action, chunk=chunk))
    model = new_visuomotor(robot, seed=3)
    policy = export_policy(model, tmp_path / 'policy.onnx', robot, 1)
    reward = export_reward(model, tmp_path / 'reward.onnx', robot, 1)
    assert parity(model, policy, robot).passed
    assert parity(model, reward, robot, 'reward').passed
    assert not parity(new_visuomotor(robot, seed=4), policy, robot).passed


def test_features_are_frozen_only_after_the_encoder_is():
    model = new_visuomotor(ROBOT)
    assert not model.features_are_frozen
    model.freeze_vision()
    assert model.features_are_frozen
    assert all(weight.requires_grad for weight in model.trunk.parameters())


def test_only_frozen_encoders_with_equal_weights_and_statistics_give_equal_features():
    one, other = (new_visuomotor(ROBOT) for _ in range(2))
    assert not share_frozen_encoder(one, other)
    one.freeze_vision()
    other.freeze_vision()
    assert share_frozen_encoder(one, other)
    other.encoder.standardiser.mean += 1
    assert not share_frozen_encoder(one, other)


def test_models_with_and_without_proprioception_have_different_features():
    one = new_visuomotor(ROBOT)
    other = new_visuomotor(replace(ROBOT, proprioception=(Proprioception('tool_pose'),)))
    one.freeze_vision()
    other.freeze_vision()
    assert not share_frozen_encoder(one, other)


def test_the_instruction_head_sees_the_first_camera_and_no_instruction():
    model = new_visuomotor(ROBOT, pieces=('grasp', 'the'))
    frames = torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8)
    scenes = model.scene_features(frames)
    assert scenes.shape == (2, CAMERA_FEATURES)
    pieces = torch.tensor([model.encode_pieces(['grasp', 'it'])] * 2)
    assert pieces[0].tolist() == [0, 3, 2, 1]
    assert model.instruction_logits(scenes, scenes, pieces).shape == (2, 4, 5)
