"""The world node with a robot of four dimensions: two cameras, joints, a gripper."""

from __future__ import annotations

from efm_core import topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import (
    to_image,
    to_info,
    to_measured_state,
    to_ns,
    to_positions,
    to_stamp,
)
from efm_core.ros_messages import from_action
from efm_guard.ros_driver import from_values
from efm_interfaces.srv import ResetWorld
from efm_sim.gym.world import load_world
from efm_sim.node import WorldNode
from efm_sim.ros_publisher import info_topics
import hand
import numpy as np
import pytest
from rclpy.qos import qos_profile_system_default
from sensor_msgs.msg import CameraInfo

PERIOD = 100_000_000  # [ns]
MOVES = np.array([[1, 0, -1, -1], [0, 0.3, -1, 1], [0, 0, 0, 1], [-0.7, 0, 1, 1]], np.float32)
OPEN = np.array([0, 0, 0, -1], np.float32)
CLOSED = np.array([0, 0, 0, 1], np.float32)


class Scene:
    """A world node, and a peer that subscribes all its topics and publishes commands."""

    def __init__(self, stage, tmp_path, *, lockstep):
        self.path = hand.write(tmp_path / 'hand.yaml')
        self.robot = load_embodiment(self.path)
        self.stage = stage
        self.node = stage.start(
            WorldNode, lockstep=lockstep, simulator='gym', embodiment=str(self.path)
        )
        scene, wrist = (topics.camera_topic(camera) for camera in self.robot.cameras)
        self.commands = stage.speak(topics.command_topic(self.robot.command))
        self.images = stage.listen(scene, lockstep=lockstep)
        self.wrists = stage.listen(wrist, lockstep=lockstep)
        self.states = stage.listen(topics.WORLD_STATE)
        self.joints = stage.listen(topics.JOINT_STATES, lockstep=lockstep)
        self.endings = stage.listen(topics.TERMINATED)

    @property
    def environment(self):
        return self.node._world._environment.unwrapped

    def reset(self, seed):
        response = self.stage.call(ResetWorld, topics.RESET_WORLD, seed=seed)
        assert response.success, response.message
        return to_ns(response.stamp)

    def move(self, stamp, values):
        self.commands.publish(from_values(np.array(values), stamp, self.robot))

    def wait_for_steps(self, count):
        self.stage.spin_until(lambda: len(self.environment.received) >= count, 'three periods')

    def hold_the_puck(self):
        self.environment.hand = self.environment.puck.copy()


@pytest.fixture
def lockstep(stage, tmp_path):
    return Scene(stage, tmp_path, lockstep=True)


def test_in_lockstep_the_node_equals_the_world_in_one_process(lockstep):
    world = load_world(lockstep.path)
    stamp = lockstep.reset(5)
    world.reset(5)
    for index, values in enumerate(MOVES):
        for heard in (lockstep.images, lockstep.wrists, lockstep.states, lockstep.joints):
            assert to_stamp(lockstep.stage.hear(heard, index + 1)[-1]) == stamp + index * PERIOD
        for heard, image in zip((lockstep.images, lockstep.wrists), world.images(), strict=True):
            np.testing.assert_array_equal(to_image(heard[-1]), image)
        state = to_measured_state(lockstep.joints[-1])
        assert state.joints == world.state().joints
        np.testing.assert_array_equal(state.positions, world.state().positions)
        truth = lockstep.states[-1]
        np.testing.assert_array_equal(to_positions(truth)['puck'], world.positions()['puck'])
        assert to_info(truth) == world.info()
        lockstep.move(stamp + index * PERIOD, values)
        world.step(values)
    lockstep.stage.hear(lockstep.images, len(MOVES) + 1)
    np.testing.assert_array_equal(lockstep.environment.received, MOVES)
    assert not lockstep.endings


def test_commands_of_another_length_or_not_finite_are_dropped(lockstep):
    stamp = lockstep.reset(5)
    lockstep.stage.hear(lockstep.images)
    for wrong in (OPEN[:3], [np.nan, 0, 0, 0]):
        message = from_action(np.zeros(0, np.int64), np.float32(wrong), 0.0, stamp)
        lockstep.commands.publish(message)
    message.chunk_steps = 3  # which do not divide four values
    lockstep.commands.publish(message)
    lockstep.move(stamp, OPEN)
    lockstep.stage.hear(lockstep.images, 2)
    np.testing.assert_array_equal(lockstep.environment.received, [OPEN])
    assert any('4 finite numbers' in key for key in lockstep.node.diagnostics.counts)


def test_a_scene_that_ends_is_announced_once_and_answers_no_command(lockstep):
    stamp = lockstep.reset(6)
    lockstep.hold_the_puck()
    for index, values in enumerate((CLOSED, OPEN, CLOSED, CLOSED)):
        lockstep.move(stamp + index * PERIOD, values)
        lockstep.stage.hear(lockstep.images, min(index + 2, 3))
    (ending,) = lockstep.stage.hear(lockstep.endings)
    assert to_ns(ending.stamp) == stamp + 2 * PERIOD
    first = lockstep.reset(7)
    assert to_stamp(lockstep.stage.hear(lockstep.images, 4)[-1]) == first
    lockstep.move(first, CLOSED)
    lockstep.stage.hear(lockstep.images, 5)
    assert len(lockstep.endings) == 1


def test_in_real_time_a_command_lasts_one_period_and_the_gripper_keeps_its_value(stage, tmp_path):
    scene = Scene(stage, tmp_path, lockstep=False)
    scene.reset(5)
    stage.spin_until(lambda: len(scene.images) > 3, 'images')
    assert scene.environment.received == []  # the value of the gripper is unknown
    for values in (np.float32([0.5, 0, 0.25, 1]), np.float32([-1, 0, 0, -1])):
        before = len(scene.environment.received)
        scene.move(1, values)
        scene.wait_for_steps(before + 3)
        done = np.array(scene.environment.received[before:])
        at = int(np.flatnonzero((done == values).all(axis=1))[0])
        assert (done[at + 1 :] == [0, 0, 0, values[3]]).all()
    scene.reset(6)
    seen = len(scene.images)
    stage.spin_until(lambda: len(scene.images) > seen + 2, 'images of the new scene')
    assert scene.environment.received == []


def test_each_camera_has_its_camera_info(lockstep):
    names = info_topics(lockstep.robot.cameras)
    assert names == ['camera_info', 'wrist/camera_info']
    heard = {name: [] for name in names}
    for name, found in heard.items():
        peer = lockstep.stage.peer
        peer.create_subscription(CameraInfo, name, found.append, qos_profile_system_default)
    publishers = lockstep.node._publisher.infos
    lockstep.stage.spin_until(
        lambda: all(publisher.get_subscription_count() for publisher in publishers), 'camera_info'
    )
    stamp = lockstep.reset(1)
    for found, size in zip(heard.values(), (16, 8), strict=True):
        (info,) = lockstep.stage.hear(found)
        assert (info.height, info.width, to_stamp(info)) == (size, size, stamp)
    assert [found[0].header.frame_id for found in heard.values()] == ['scene', 'wrist']
    twins = lockstep.robot.cameras[:1] * 2
    assert info_topics(twins) == ['camera_info', 'image/camera_info']
