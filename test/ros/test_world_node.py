"""The world node with the simulated table."""

from __future__ import annotations

from efm_core import topics
from efm_core.messages import to_image, to_ns, to_positions, to_stamp
from efm_core.ros_messages import from_displacement
from efm_interfaces.srv import ResetWorld
from efm_sim.node import WorldNode
import numpy as np
import pytest
from rclpy.qos import qos_profile_system_default
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo

PERIOD = 100_000_000  # [ns]
RIGHT = (0.02, 0.0)  # [m]


class Scene:
    """A world node, and a peer that subscribes its topics and publishes commands."""

    def __init__(self, stage, lockstep, **parameters):
        self.stage = stage
        self.node = stage.start(WorldNode, lockstep=lockstep, body='tool', **parameters)
        self.commands = stage.speak(topics.COMMAND)
        self.images = stage.listen(topics.IMAGE, lockstep=lockstep)
        self.states = stage.listen(topics.WORLD_STATE)
        self.clock = []
        stage.peer.create_subscription(
            Clock, 'clock', self.clock.append, qos_profile_system_default
        )
        stage.spin_until(self.node._publisher.clocks.get_subscription_count, 'the clock')

    def reset(self, seed):
        response = self.stage.call(ResetWorld, topics.RESET_WORLD, seed=seed)
        assert response.success, response.message
        return response

    def move(self, stamp, values=RIGHT):
        self.commands.publish(from_displacement(np.array(values), 10.0, stamp, 'table'))

    def episode(self, seed, steps=5):
        """Return the images of an episode in which the tool always moves to the right."""
        earlier = len(self.images)
        stamp = to_ns(self.reset(seed).stamp)
        for step in range(steps):
            self.stage.hear(self.images, earlier + step + 1)
            self.move(stamp + step * PERIOD)
        images = self.stage.hear(self.images, earlier + steps + 1)[earlier:]
        assert [to_stamp(image) - stamp for image in images] == [
            PERIOD * i for i in range(steps + 1)
        ]
        return np.stack([to_image(image) for image in images])


def tool(state):
    return to_positions(state)['tool'][:2]


@pytest.fixture
def lockstep(stage, embodiment, yaml_of):
    return Scene(stage, True, embodiment=yaml_of(embodiment))


def test_a_reset_publishes_the_new_scene(lockstep):
    response = lockstep.reset(1)
    image = lockstep.stage.hear(lockstep.images)[0]
    assert response.instruction
    assert to_stamp(image) == to_ns(response.stamp)
    assert to_image(image).shape == (64, 64, 3)
    state = lockstep.stage.hear(lockstep.states)[0]
    assert to_stamp(state) == to_ns(response.stamp)
    assert next(iter(to_positions(state))) == 'tool'


def test_only_the_command_for_the_newest_image_advances_the_world(lockstep):
    stamp = to_ns(lockstep.reset(1).stamp)
    lockstep.stage.hear(lockstep.states)
    for wrong in (stamp - PERIOD, stamp + PERIOD, 0, stamp):
        lockstep.move(wrong)
    lockstep.stage.hear(lockstep.states, 2)
    lockstep.move(stamp)
    lockstep.move(stamp + PERIOD, (0.0, 0.0))
    states = lockstep.stage.hear(lockstep.states, 3)
    assert [to_stamp(state) - stamp for state in states] == [0, PERIOD, 2 * PERIOD]
    assert tool(states[1])[0] - tool(states[0])[0] == pytest.approx(0.02, abs=0.005)


def test_equal_seeds_give_equal_images(lockstep):
    first, other, again = (lockstep.episode(seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[-1]).any()


def test_time_always_increases(lockstep):
    for seed in (3, 1, 2):
        lockstep.episode(seed, steps=2)
    times = [to_ns(clock.clock) for clock in lockstep.clock]
    assert len(times) == 9
    assert (np.diff(times) > 0).all()
    assert times == [to_stamp(image) for image in lockstep.images]


def test_a_command_that_is_not_finite_is_dropped(lockstep):
    stamp = to_ns(lockstep.reset(1).stamp)
    lockstep.stage.hear(lockstep.states)
    lockstep.move(stamp, (float('nan'), 0.0))
    lockstep.move(stamp)
    states = lockstep.stage.hear(lockstep.states, 2)
    assert np.isfinite(tool(states[1])).all()
    assert any('finite' in key for key in lockstep.node.diagnostics.counts)


def test_a_requested_instruction_is_refused_with_the_reason(lockstep):
    response = lockstep.stage.call(
        ResetWorld, topics.RESET_WORLD, seed=1, instruction='push everything away'
    )
    assert not response.success
    assert 'chooses its own instructions' in response.message


def test_camera_info_has_size_frame_and_matrix(lockstep):
    infos = []
    lockstep.stage.peer.create_subscription(
        CameraInfo, 'camera_info', infos.append, qos_profile_system_default
    )
    lockstep.stage.spin_until(
        lockstep.node._publisher.infos[0].get_subscription_count, 'camera_info'
    )
    lockstep.reset(1)
    info = lockstep.stage.hear(infos)[0]
    assert (info.height, info.width, info.header.frame_id) == (64, 64, 'table')
    assert info.k[0] > 0
    assert info.k[2] == pytest.approx(32, abs=1)


def test_in_real_time_the_world_advances_and_a_command_lasts_one_period(
    stage, embodiment, yaml_of
):
    scene = Scene(stage, False, embodiment=yaml_of(embodiment))
    scene.reset(1)
    del scene.states[:]
    stage.spin_until(lambda: len(scene.states) >= 2, 'time to pass')
    scene.move(0)
    still = tool(scene.states[-1])
    stage.spin_until(lambda: abs(tool(scene.states[-1]) - still)[0] > 0.01, 'the tool to move')
    moved = len(scene.states)
    stage.spin_until(lambda: len(scene.states) >= moved + 3, 'time to pass')
    assert tool(scene.states[-1])[0] - still[0] == pytest.approx(0.02, abs=0.005)
    times = [to_stamp(state) for state in scene.states]
    assert (np.diff(times) > 0).all()
    assert abs(times[-1] - scene.node.get_clock().now().nanoseconds) < 5e9
