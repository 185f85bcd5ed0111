"""Conversions to messages and back lose nothing."""

from __future__ import annotations

from dataclasses import asdict

from efm_core import messages, ros_messages
from efm_core.episode import EpisodeEnding, EpisodeGoal, Outcome, Termination
from efm_core.observation import MeasuredState
from efm_interfaces.msg import EpisodeEvent
from efm_release.release import Release
from models import frames
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

STAMP = 1_700_000_000_123_456_789  # [ns], more than a float64 can tell apart


def over_the_wire(message):
    """Return the message as a subscriber receives it."""
    return deserialize_message(serialize_message(message), type(message))


@pytest.mark.parametrize('nanoseconds', [0, 999_999_999, 1_000_000_000, STAMP])
def test_a_time_keeps_its_nanoseconds(nanoseconds):
    stamp = ros_messages.from_ns(nanoseconds)
    assert messages.to_ns(stamp) == nanoseconds
    assert stamp.nanosec < 1_000_000_000


def test_an_image_keeps_every_pixel():
    image = frames(1)[0]
    message = over_the_wire(ros_messages.from_image(image, STAMP, 'table'))
    assert messages.to_stamp(message) == STAMP
    assert message.header.frame_id == 'table'
    np.testing.assert_array_equal(messages.to_image(message), image)


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('bgr8', (2, 1, 0)), ('rgba8', (0, 1, 2, 0)), ('bgra8', (2, 1, 0, 1))],
)
def test_other_orders_of_colour_come_out_as_rgb(encoding, order):
    image = frames(1)[0]
    message = ros_messages.from_image(np.ascontiguousarray(image[..., order]), STAMP)
    message.encoding = encoding
    message.step = 64 * len(order)
    np.testing.assert_array_equal(messages.to_image(over_the_wire(message)), image)


def test_padding_at_the_end_of_rows_is_no_part_of_the_image():
    image = frames(1)[0]
    padded = np.pad(image.reshape(64, 192), ((0, 0), (0, 5)), constant_values=255)
    message = ros_messages.from_image(image, STAMP)
    message.step = 197
    message.data = padded.tobytes()
    np.testing.assert_array_equal(messages.to_image(over_the_wire(message)), image)


def test_an_observation_is_compressed_without_loss():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    message = over_the_wire(ros_messages.from_observation(noise, STAMP))
    assert messages.to_stamp(message) == STAMP
    np.testing.assert_array_equal(messages.to_image(message), noise)


def test_an_action_keeps_tokens_values_and_fields():
    tokens = np.array([3, 10])
    values = np.array([0.0125, -0.025], np.float32)
    message = over_the_wire(
        ros_messages.from_action(
            tokens, values, -1.5, STAMP, episode_id='first', step=4, policy_version=2
        )
    )
    assert (message.episode_id, message.step, message.policy_version) == ('first', 4, 2)
    assert message.log_probability == -1.5
    assert messages.to_stamp(message) == STAMP
    np.testing.assert_array_equal(messages.to_tokens(message), tokens)
    np.testing.assert_array_equal(messages.to_values(message), values)
    assert messages.to_tokens(message).dtype == np.int64
    assert messages.to_values(message).dtype == np.float32


def test_a_prediction_keeps_the_whole_distribution():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(61)).astype(np.float32)
    message = over_the_wire(
        ros_messages.from_steps_to_go(probabilities, 12.25, True, STAMP, reward_version=1)
    )
    np.testing.assert_array_equal(messages.to_probabilities(message), probabilities)
    assert (message.steps_to_go, message.success, message.reward_version) == (12.25, True, 1)
    assert messages.to_stamp(message) == STAMP


def test_a_displacement_becomes_a_velocity_and_back():
    values = np.array([0.02, -0.01], np.float32)
    message = over_the_wire(ros_messages.from_displacement(values, 10.0, STAMP, 'table'))
    assert message.twist.linear.x == pytest.approx(0.2)  # 0.02 m in each of 10 periods a second
    assert message.twist.linear.y == pytest.approx(-0.1)
    np.testing.assert_allclose(messages.to_displacement(message, 10.0), values, rtol=1e-6)


def test_measured_joints_keep_their_names():
    state = MeasuredState(('a', 'b'), np.array([0.5, -1.0]), velocities=np.array([0.1, 0.2]))
    message = over_the_wire(ros_messages.from_joints(state, STAMP))
    assert dict(zip(message.name, message.position, strict=True)) == {'a': 0.5, 'b': -1.0}
    assert dict(zip(message.name, message.velocity, strict=True)) == {'a': 0.1, 'b': 0.2}
    found = messages.to_measured_state(message)
    assert found.joints == ('a', 'b')
    np.testing.assert_array_equal(found.positions, state.positions)
    np.testing.assert_array_equal(found.velocities, state.velocities)


def test_a_quantity_that_not_every_joint_has_is_unknown():
    state = MeasuredState(('a', 'b'), np.array([0.5, -1.0]))
    message = over_the_wire(ros_messages.from_joints(state, STAMP))
    assert list(message.velocity) == []
    message.effort = [1.0]
    message.position = [0.5]
    found = messages.to_measured_state(message)
    assert (len(found.positions), len(found.velocities)) == (0, 0)


def test_simulator_truth_keeps_the_order_of_things():
    positions = {name: np.array([i, 0.5, -i]) for i, name in enumerate(('tool', 'b', 'a'))}
    message = over_the_wire(ros_messages.from_world(positions, True, 0.25, STAMP))
    found = messages.to_positions(message)
    assert list(found) == ['tool', 'b', 'a']
    for name, position in positions.items():
        np.testing.assert_array_equal(found[name], position)
    assert (message.success, message.distance) == (True, 0.25)


GOAL = EpisodeGoal(
    'first',
    7,
    kind='practice',
    instruction='push',
    seed=2**40,
    max_steps=9,
    policy_version=3,
)


def test_a_goal_comes_back_from_its_request():
    assert messages.to_goal(over_the_wire(ros_messages.from_goal(GOAL))) == GOAL


@pytest.mark.parametrize('kind', [EpisodeEvent.START, EpisodeEvent.END])
def test_a_goal_comes_back_from_the_events_of_its_episode(kind):
    message = over_the_wire(ros_messages.from_event(GOAL, kind, STAMP, 'abc'))
    assert messages.to_goal(message) == GOAL
    assert (message.event, message.embodiment_hash) == (kind, 'abc')
    assert messages.to_stamp(message) == STAMP


def test_an_outcome_has_the_goal_and_the_ending_of_its_episode():
    ending = EpisodeEnding(
        Outcome.SUCCESS,
        Termination.STOPPED,
        stamp=STAMP,
        steps=4,
        detail='why',
        steps_to_go=1.5,
        policy_version=3,
        reward_version=2,
    )
    message = over_the_wire(ros_messages.from_outcome(GOAL, ending))
    assert messages.to_stamp(message) == STAMP
    assert messages.to_fields(message) == {
        'episode_id': 'first',
        'index': 7,
        'kind': 'practice',
        'instruction': 'push',
        'outcome': 'success',
        'termination': 'stopped',
        'detail': 'why',
        'steps': 4,
        'policy_version': 3,
        'reward_version': 2,
        'steps_to_go': 1.5,
    }


def test_a_permit_names_its_observation_and_in_real_time_its_end():
    real_time = ros_messages.from_permit('first', STAMP, lockstep=False, valid_until=STAMP + 5)
    message = over_the_wire(real_time)
    assert (message.episode_id, message.lockstep) == ('first', False)
    assert messages.to_stamp(message) == STAMP
    assert messages.to_ns(message.valid_until) == STAMP + 5
    lockstep = over_the_wire(ros_messages.from_permit('first', STAMP, lockstep=True))
    assert (lockstep.lockstep, messages.to_ns(lockstep.valid_until)) == (True, 0)


def test_a_recording_names_its_bag_or_why_there_is_none():
    message = over_the_wire(
        ros_messages.from_recording('first', STAMP, success=False, uri='bag', detail='full')
    )
    assert messages.to_stamp(message) == STAMP
    assert messages.to_fields(message) == {
        'episode_id': 'first', 'success': False, 'uri': 'bag', 'detail': 'full'
    }  # fmt: skip


def test_a_release_keeps_its_fields():
    release = Release(3, 'active', uri='/releases/3', sha256='f00', embodiment_hash='abc')
    message = over_the_wire(ros_messages.from_release(release))
    assert messages.to_fields(message) == asdict(release)


def test_a_camera_has_its_matrix_and_no_distortion():
    matrix = np.array([[70.0, 0, 32], [0, 70, 24], [0, 0, 1]])
    message = over_the_wire(
        ros_messages.from_camera_info(matrix, height=48, width=64, stamp=STAMP, frame='table')
    )
    assert (message.height, message.width, message.header.frame_id) == (48, 64, 'table')
    assert message.k.reshape(3, 3).tolist() == matrix.tolist()
    assert message.p.reshape(3, 4)[:, :3].tolist() == matrix.tolist()
    assert not any(message.d)
    assert messages.to_stamp(message) == STAMP
