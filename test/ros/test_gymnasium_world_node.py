"""The world node with a Gymnasium environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from efm_core import topics
from efm_core.embodiment import ActionSpace, load_embodiment
from efm_core.messages import to_image, to_ns, to_positions, to_stamp
from efm_core.ros_messages import from_displacement
from efm_interfaces.srv import ResetWorld
from efm_sim.gym.world import load_world
from efm_sim.node import WorldNode
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn

PUSHT = Path(__file__).resolve().parents[2] / 'config' / 'embodiments' / 'pusht.yaml'
PERIOD = 100_000_000  # [ns]
STEPS = [(36.0, 0.0), (0.0, -60.0), (0.0, 0.0), (-24.0, 12.0)]


@pytest.fixture
def scene(stage):
    """Return a stage with the world node in lockstep, its publisher and its subscriptions."""
    stage.start(WorldNode, lockstep=True, simulator='gym', embodiment=str(PUSHT))
    stage.commands = stage.speak(topics.COMMAND)
    stage.images = stage.listen(topics.IMAGE)
    stage.states = stage.listen(topics.WORLD_STATE)
    stage.joints = stage.listen(topics.JOINT_STATES)
    return stage


def test_in_lockstep_the_node_equals_the_world_in_one_process(scene):
    world = load_world(PUSHT)
    for seed in (5, 6):
        del scene.images[:], scene.states[:]
        response = scene.call(ResetWorld, topics.RESET_WORLD, seed=seed)
        assert response.success, response.message
        assert response.instruction == world.instruction
        stamp = to_ns(response.stamp)
        world.reset(seed)
        for index, step in enumerate(STEPS):
            scene.hear(scene.images, index + 1)
            np.testing.assert_array_equal(to_image(scene.images[-1]), world.render())
            scene.commands.publish(
                from_displacement(np.array(step), 10.0, stamp + index * PERIOD, 'board')
            )
            world.step(np.float32(step))
        image = scene.hear(scene.images, len(STEPS) + 1)[-1]
        assert to_stamp(image) == stamp + len(STEPS) * PERIOD
        np.testing.assert_array_equal(to_image(image), world.render())
        states = scene.hear(scene.states, len(STEPS) + 1)
        assert [state.success for state in states] == [False] * len(states)
        for name, position in world.positions().items():
            np.testing.assert_array_equal(to_positions(states[-1])[name], position)
        assert to_positions(states[-1])['pusher'].tolist() != [0, 0, 0]
        assert np.isnan(states[0].distance)
    assert not scene.joints[0].name


def test_an_embodiment_without_an_environment_is_refused(stage, embodiment, yaml_of):
    node = stage.make(WorldNode, simulator='gym', embodiment=yaml_of(embodiment))
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE


def test_an_action_with_three_dimensions_is_refused(stage, yaml_of):
    three = ActionSpace(('x', 'y', 'z'), 'px', low=(-1.0,) * 3, high=(1.0,) * 3)
    robot = replace(load_embodiment(PUSHT), action=three)
    node = stage.make(WorldNode, simulator='gym', embodiment=yaml_of(robot))
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
