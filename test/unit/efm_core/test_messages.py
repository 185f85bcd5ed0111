"""Messages to arrays, from any object with the fields of the message."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
from efm_core.images import encode_png
from efm_core.messages import (
    to_chunk_steps,
    to_displacement,
    to_due_stamps,
    to_image,
    to_ns,
    to_pose_in,
    to_positions,
    to_positions_of,
    to_probabilities,
    to_stamp,
    to_tokens,
    to_values,
)
import numpy as np
import pytest

RED = [200, 0, 0]
GREEN = [0, 210, 0]
BLUE = [0, 0, 220]
IMAGE = np.array([[RED, GREEN, BLUE], [BLUE, RED, GREEN]], np.uint8)


def image_message(pixels: np.ndarray, encoding: str, padding: int = 0, **changes):
    """Return an object with the fields of a ``sensor_msgs/Image``."""
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)))
    fields = {
        'height': height,
        'width': width,
        'step': rows.shape[1],
        'encoding': encoding,
        'data': rows.tobytes(),
    }
    return SimpleNamespace(**{**fields, **changes})


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    """Return the image with a fourth channel."""
    return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 9, np.uint8)], axis=-1)


@pytest.mark.parametrize(
    ('pixels', 'encoding'),
    [
        (IMAGE, 'rgb8'),
        (IMAGE[..., ::-1], 'bgr8'),
        (with_alpha(IMAGE), 'rgba8'),
        (with_alpha(IMAGE[..., ::-1]), 'bgra8'),
    ],
)
@pytest.mark.parametrize('padding', [0, 5])
def test_every_colour_encoding_gives_the_same_image(pixels, encoding, padding):
    decoded = to_image(image_message(pixels, encoding, padding))
    np.testing.assert_array_equal(decoded, IMAGE)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize('encoding', ['mono8', '16UC1', 'bayer_rggb8', ''])
def test_encoding_without_colour_is_refused_and_the_error_lists_the_others(encoding):
    with pytest.raises(ValueError, match=rf"expected encoding rgb8, .*got '{encoding}'"):
        to_image(image_message(IMAGE, encoding))


@pytest.mark.parametrize(
    'changes',
    [
        {'data': IMAGE.tobytes()[:-1]},
        {'data': IMAGE.tobytes() + b'x'},
        {'data': b''},
        {'step': 8, 'data': bytes(16)},
        {'height': 3},
        {'width': 4},
    ],
)
def test_data_of_the_wrong_length_is_refused(changes):
    with pytest.raises(ValueError, match=r'image: expected .* bytes'):
        to_image(image_message(IMAGE, 'rgb8', **changes))


def test_image_of_no_size_is_accepted():
    assert to_image(image_message(IMAGE, 'rgb8', height=0, data=b'')).shape == (0, 3, 3)


def test_lossless_compressed_image_comes_back_the_same():
    message = SimpleNamespace(format='rgb8; png compressed bgr8', data=encode_png(IMAGE))
    np.testing.assert_array_equal(to_image(message), IMAGE)


def test_jpeg_comes_back_with_its_colours_in_order():
    flat = np.full((16, 16, 3), RED, np.uint8)
    data = cv2.imencode('.jpg', flat[..., ::-1])[1].tobytes()
    decoded = to_image(SimpleNamespace(format='jpeg', data=data))
    np.testing.assert_allclose(decoded[8, 8], RED, atol=4)


@pytest.mark.parametrize('data', [b'no image', b'', encode_png(IMAGE)[:20]])
def test_compressed_data_that_is_no_image_is_refused(data):
    with pytest.raises(ValueError, match=f'expected PNG or JPEG data, got {len(data)} bytes'):
        to_image(SimpleNamespace(format='png', data=data))


def test_time_becomes_nanoseconds_without_loss():
    stamp = SimpleNamespace(sec=1_700_000_000, nanosec=123_456_789)
    assert to_ns(stamp) == 1_700_000_000_123_456_789
    assert to_stamp(SimpleNamespace(header=SimpleNamespace(stamp=stamp))) == to_ns(stamp)


def test_action_becomes_tokens_and_values():
    message = SimpleNamespace(tokens=[3, 10], values=[0.5, -0.25])
    assert (to_tokens(message).dtype, to_tokens(message).tolist()) == (np.int64, [3, 10])
    assert (to_values(message).dtype, to_values(message).tolist()) == (np.float32, [0.5, -0.25])


def test_distribution_stays_float32():
    values = to_probabilities(SimpleNamespace(probabilities=[0.25, 0.75]))
    assert (values.dtype, values.tolist()) == (np.float32, [0.25, 0.75])


def test_positions_keep_their_order():
    points = [SimpleNamespace(x=1.0, y=2.0, z=3.0), SimpleNamespace(x=4.0, y=5.0, z=6.0)]
    positions = to_positions(SimpleNamespace(names=['tool', 'a'], positions=points))
    assert list(positions) == ['tool', 'a']
    assert positions['a'].tolist() == [4, 5, 6]


def test_positions_without_names_are_refused():
    with pytest.raises(ValueError, match='zip'):
        to_positions(SimpleNamespace(names=['tool'], positions=[]))


def test_velocity_becomes_the_displacement_of_one_control_step():
    linear = SimpleNamespace(x=0.25, y=-0.1, z=0.0)
    message = SimpleNamespace(twist=SimpleNamespace(linear=linear))
    displacement = to_displacement(message, 10.0)
    np.testing.assert_allclose(displacement, [0.025, -0.01], rtol=1e-6)
    assert displacement.dtype == np.float32


@pytest.mark.parametrize(
    ('names', 'positions', 'problem'),
    [
        ('a', [1.0], 'expected a, b, got no b among a'),
        ('ab', [], 'expected a position of each joint, got 0 for a, b'),
        ('ab', [1.0], 'expected a position of each joint, got 1 for a, b'),
        ('ab', [1.0, np.inf], r'expected finite positions, got \[ 1. inf\]'),
    ],
)
def test_joint_states_that_cannot_be_used_say_why(names, positions, problem):
    message = SimpleNamespace(name=[*names], position=positions)
    with pytest.raises(ValueError, match=f'joint_states: {problem}'):
        to_positions_of(message, ('a', 'b'))


def test_a_pose_in_another_frame_is_refused():
    turn = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    pose = SimpleNamespace(position=SimpleNamespace(x=1.0, y=2.0, z=3.0), orientation=turn)
    message = SimpleNamespace(header=SimpleNamespace(frame_id='/base'), pose=pose)
    assert to_pose_in(message, 'base').tolist() == [1, 2, 3, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="pose: expected frame tool, got 'base'"):
        to_pose_in(message, 'tool')


def action_message(chunk_steps: int) -> SimpleNamespace:
    """Return an action of two dimensions with three control steps."""
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=5)),
        period=SimpleNamespace(sec=0, nanosec=10),
        chunk_steps=chunk_steps,
        tokens=[0] * 6,
        values=[0.0] * 6,
    )


def test_the_control_steps_of_an_action_are_due_one_period_after_the_other():
    assert to_due_stamps(action_message(3)) == (5, 15, 25)
    assert to_due_stamps(action_message(0)) == (5,)


def test_an_action_has_no_more_control_steps_than_numbers():
    assert to_chunk_steps(action_message(4_000_000_000)) == 6
    assert len(to_due_stamps(action_message(4_000_000_000))) == 6
