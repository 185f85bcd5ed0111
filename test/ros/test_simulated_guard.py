"""The guard node of a simulated robot with four dimensions."""

from __future__ import annotations

from efm_core import topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_stamp, to_values
from efm_core.ros_messages import from_action, from_ns, stamped
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent, Permit
import hand
import numpy as np
import pytest

T0 = 500_000_000  # [ns]


@pytest.fixture
def robot(tmp_path):
    return load_embodiment(hand.write(tmp_path / 'hand.yaml'))


@pytest.fixture
def scene(stage, robot, yaml_of):
    """Return a stage with a guard in lockstep, the publishers before it and the driver's topic."""
    stage.start(GuardNode, embodiment=yaml_of(robot), lockstep=True)
    stage.actions = stage.speak(topics.ACTION)
    stage.permits = stage.speak(topics.PERMIT)
    stage.events = stage.speak(topics.EPISODE_EVENT)
    stage.commands = stage.listen(topics.command_topic(robot.command))
    return stage


def pass_action(scene, robot, values, stamp=T0):
    scene.actions.publish(
        from_action(
            np.zeros(4, np.int64),
            np.float32(values),
            0.0,
            stamp,
            episode_id='first',
            embodiment_hash=robot.hash,
            deadline=from_ns(0),
        )
    )
    scene.permits.publish(stamped(Permit(episode_id='first', lockstep=True), stamp))


def test_an_action_passes_with_the_stamp_of_its_observation_and_a_stop_keeps_the_gripper(
    scene, robot, make_event
):
    values = np.float32([0.1, -0.2, 0.3, 1.0])
    pass_action(scene, robot, values)
    (command,) = scene.hear(scene.commands)
    np.testing.assert_array_equal(to_values(command), values)
    assert to_stamp(command) == T0
    assert command.embodiment_hash == robot.hash
    scene.events.publish(make_event(event=EpisodeEvent.END, stamp=T0))
    stop = scene.hear(scene.commands, 2)[-1]
    np.testing.assert_array_equal(to_values(stop), [0, 0, 0, 1])
    assert to_stamp(stop) == 0  # no observation: the world in lockstep does not execute it


def test_a_value_outside_its_range_is_not_passed(scene, robot):
    pass_action(scene, robot, [0, 0, 0, 1.01])
    pass_action(scene, robot, [0, 0, 1, 1], T0 + 1)
    (command,) = scene.hear(scene.commands)
    assert to_stamp(command) == T0 + 1
