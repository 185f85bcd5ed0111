"""Robots of simulated worlds with any number of action dimensions."""

from __future__ import annotations

from dataclasses import replace

from efm_core.command import ACTION, Command, Limits, SIMULATED
from efm_core.embodiment import ActionSpace, load_embodiment
from efm_core.topics import COMMAND, command_topic, executed_topic
import hand
import numpy as np
import pytest


@pytest.fixture
def robot(tmp_path):
    return load_embodiment(hand.write(tmp_path / 'hand.yaml'))


def test_a_simulated_robot_takes_the_action_itself_on_the_topic_command(robot):
    command = robot.command
    assert command.is_simulated
    assert not command.is_planar_displacement
    assert command_topic(command) == replace(COMMAND, type='efm_interfaces/msg/Action')
    assert executed_topic(command) == command_topic(command)  # with the observation's stamp


def test_planar_displacements_are_simulated_too():
    assert Command().is_simulated
    assert Command().is_planar_displacement


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'type': 'geometry_msgs/msg/TwistStamped'}, f'command.type of {SIMULATED}: expected efm'),
        (
            {'limits': Limits(on_violation='clamp')},
            'command.limits.on_violation: expected no value',
        ),
        ({'axes': ('x', 'y')}, 'command.axes: expected no value'),
        ({'mode': 'absolute'}, 'command.mode: expected no value'),
    ],
)
def test_what_a_simulated_robot_does_not_use_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Command(**{'type': ACTION, 'controller': SIMULATED, **wrong})


def test_only_a_gripper_may_have_no_zero_among_its_levels(robot):
    assert robot.action.levels == (5, 5, 5, 2)
    names = ('x', 'y', 'z', 'finger')
    action = ActionSpace(names, 'm', low=(-1.0,) * 4, high=(1.0,) * 4, bins=(5, 5, 5, 2))
    with pytest.raises(ValueError, match=r'action.bins: expected an odd number .*got 2'):
        replace(robot, action=action)


def test_standing_still_is_zero_but_the_gripper_keeps_its_value(robot):
    last = np.float32([0.5, -1, 0.25, 1])
    still = robot.standstill(last)
    np.testing.assert_array_equal(still, [0, 0, 0, 1])
    assert still.dtype == np.float32
    np.testing.assert_array_equal(robot.standstill(still), [0, 0, 0, 1])
    assert robot.standstill(None) is None  # no value of the gripper is known


def test_without_a_gripper_standing_still_is_zero(embodiment):
    np.testing.assert_array_equal(embodiment.standstill(None), [0, 0])
    np.testing.assert_array_equal(embodiment.standstill(np.float32([0.01, 0.02])), [0, 0])
