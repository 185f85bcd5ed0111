"""From raw images and a measured state to what the policy sees."""

from __future__ import annotations

from dataclasses import replace

from efm_core.embodiment import Camera, Embodiment, Proprioception
from efm_core.observation import MeasuredState, Observation
from efm_core.preprocessing import blank_observation, check_observation, observe, preprocess
from models import table_arm
import numpy as np
import pytest

NOISE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (6, 10, 3), np.uint8)
STATE = MeasuredState(
    ('a', 'b', 'finger'),
    np.array([0.1, 0.2, 0.03]),
    velocities=np.array([1.0, 2.0, 3.0]),
    tool_pose=np.array([0.4, 0.0, 0.3, 0.0, 0.0, 0.6, 0.8]),
)


def robot(*proprioception: Proprioception) -> Embodiment:
    """Return a robot with two cameras of different sizes; the policy sees 8 x 12 and 3 x 2 px."""
    cameras = (
        Camera('table', 'image', height=8, width=12),
        Camera('hand', 'hand', height=6, width=10, crop=(2, 1, 4, 3), role='wrist', size=(3, 4)),
    )
    return replace(
        table_arm(), cameras=cameras, observation_size=(8, 12), proprioception=proprioception
    )


def test_an_image_of_the_right_size_is_unchanged():
    out = preprocess(NOISE, Camera('c', 'image', height=8, width=12), (8, 12))
    np.testing.assert_array_equal(out, NOISE)


def test_crop_is_left_top_width_height():
    out = preprocess(NOISE, Camera('c', 'image', height=8, width=12, crop=(3, 1, 6, 4)), (4, 6))
    np.testing.assert_array_equal(out, NOISE[1:5, 3:9])
    assert out.flags.c_contiguous


def test_halving_takes_the_mean_of_four_pixels():
    out = preprocess(NOISE, Camera('c', 'image', height=8, width=12), (4, 6))
    means = NOISE.reshape(4, 2, 6, 2, 3).astype(float).mean(axis=(1, 3))
    assert out.shape == (4, 6, 3)
    np.testing.assert_allclose(out, means, atol=0.51)


def test_size_is_height_then_width():
    assert preprocess(NOISE, Camera('c', 'image', height=8, width=12), (16, 5)).shape == (16, 5, 3)


@pytest.mark.parametrize(
    ('picture', 'said'),
    [
        (NOISE[:7], r'table: expected shape \(8, 12, 3\), got \(7, 12, 3\)'),
        (NOISE.swapaxes(0, 1), r'got \(12, 8, 3\)'),
        (NOISE[..., 0], r'got \(8, 12\)'),
        (NOISE.astype(np.float32), 'expected dtype uint8, got float32'),
    ],
)
def test_an_image_of_another_size_or_type_is_refused(picture, said):
    with pytest.raises(ValueError, match=said):
        preprocess(picture, Camera('table', 'image', height=8, width=12), (4, 4))


def test_each_camera_has_its_own_crop_and_size():
    seen = observe((NOISE, OTHER), robot())
    assert len(seen.images) == 2
    np.testing.assert_array_equal(seen.images[0], NOISE)
    np.testing.assert_array_equal(seen.images[1], OTHER[1:4, 2:6])
    assert (seen.proprioception.shape, seen.proprioception.dtype) == ((0,), np.float32)


@pytest.mark.parametrize('images', [(), (NOISE,), (NOISE, OTHER, OTHER)])
def test_another_number_of_images_than_cameras_is_refused(images):
    said = f'images: expected one for each of 2 cameras, got {len(images)}'
    with pytest.raises(ValueError, match=said):
        observe(images, robot())


def test_images_in_another_order_than_the_cameras_are_refused():
    with pytest.raises(ValueError, match=r'table: expected shape \(8, 12, 3\), got \(6, 10, 3\)'):
        observe((OTHER, NOISE), robot())


def test_proprioception_has_the_order_of_the_embodiment_not_that_of_the_message():
    parts = (
        Proprioception('tool_pose'),
        Proprioception('joint_positions', ('finger', 'a')),
        Proprioception('joint_velocities', ('b',)),
    )
    seen = observe((NOISE, OTHER), robot(*parts), STATE).proprioception
    assert seen.dtype == np.float32
    expected = np.float32([0.4, 0, 0.3, 0, 0, 0.6, 0.8, 0.03, 0.1, 2.0])
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(
    ('part', 'state', 'said'),
    [
        (
            Proprioception('joint_positions', ('a', 'c', 'd')),
            STATE,
            r"joint_positions: expected a value of c, d, got \['a', 'b', 'finger'\]",
        ),
        (
            Proprioception('joint_velocities', ('a',)),
            MeasuredState(('a',), np.zeros(1)),
            'joint_velocities: expected a value of a, got',
        ),
        (
            Proprioception('tool_pose'),
            replace(STATE, tool_pose=np.zeros(0)),
            'tool_pose: expected a measured pose, got none',
        ),
        (
            Proprioception('joint_positions', ('a',)),
            MeasuredState(('a',), np.array([np.nan])),
            'proprioception: expected finite numbers',
        ),
        (
            Proprioception('joint_positions', ('a',)),
            None,
            'joint_positions: expected a value of a, got',
        ),
    ],
    ids=['joint', 'velocity', 'pose', 'nan', 'no state'],
)
def test_a_state_without_a_part_is_refused(part, state, said):
    with pytest.raises(ValueError, match=said):
        observe((NOISE, OTHER), robot(part), state)


def test_an_observation_of_the_embodiment_passes_the_check_unchanged():
    one = robot(Proprioception('joint_positions', ('a',)))
    seen = observe((NOISE, OTHER), one, STATE)
    assert check_observation(seen, one) is seen


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'images': (NOISE,)}, 'images: expected one for each of 2 cameras, got 1'),
        (
            {'images': (NOISE, OTHER)},
            r'image of hand: expected shape \(3, 4, 3\), got \(6, 10, 3\)',
        ),
        ({'proprioception': np.zeros(2, np.float32)}, r'proprioception: expected shape \(1,\)'),
        ({'proprioception': np.zeros(1)}, 'proprioception: expected dtype float32, got float64'),
        (
            {'proprioception': np.full(1, np.nan, np.float32)},
            'proprioception: expected finite numbers',
        ),
    ],
    ids=['number', 'size', 'length', 'type', 'nan'],
)
def test_an_observation_of_another_embodiment_is_refused(change, said):
    one = robot(Proprioception('joint_positions', ('a',)))
    seen = replace(observe((NOISE, OTHER), one, STATE), **change)
    with pytest.raises(ValueError, match=said):
        check_observation(seen, one)


def test_several_observations_are_not_one():
    seen = observe((NOISE, OTHER), robot())
    with pytest.raises(ValueError, match='image of table: expected shape'):
        check_observation(Observation.stack([seen, seen]), robot())


def test_a_blank_observation_is_black_and_fits_the_embodiment():
    one = robot(Proprioception('tool_pose'))
    blank = check_observation(blank_observation(one), one)
    assert [image.shape for image in blank.images] == [(8, 12, 3), (3, 4, 3)]
    assert not any(array.any() for array in (*blank.images, blank.proprioception))
