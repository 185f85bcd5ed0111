"""Twists become actions, and buttons become events."""

from __future__ import annotations

from dataclasses import replace

from arms import GRIPPER, KINDS, make_arm
from efm_core.command import Command
from efm_core.embodiment import load_embodiment
from efm_supervisor.teleoperation import Buttons, TeleopInput
import hand
import numpy as np
import pytest

TRAJECTORY, POSITIONS, VELOCITIES, SERVO, POSE = KINDS
STALE = 0.5  # [s]


def twist(**speeds):
    """Return the six components of a twist, zero except those named."""
    names = ('x', 'y', 'z', 'roll', 'pitch', 'yaw')
    return np.array([speeds.get(name, 0.0) for name in names])


def one_dimension(robot, **changes):
    """Return the robot with a gripper as its last dimension, 0 to 0.08 m."""
    space = replace(robot.action, low=(-0.1, 0.0), high=(0.1, 0.08), **changes)
    return replace(robot, action=space)


def test_a_speed_becomes_the_displacement_of_one_control_step(embodiment):
    teleop = TeleopInput(embodiment, '', twist_timeout_s=STALE)
    teleop.receive(twist(x=0.1, y=-0.2, z=9.0), 'table', 7.0)
    np.testing.assert_allclose(teleop.action(7.1), [0.01, -0.02], rtol=1e-6)


def test_a_speed_beyond_the_bounds_is_clipped(embodiment):
    teleop = TeleopInput(embodiment, '', twist_timeout_s=STALE)
    teleop.receive(twist(x=3.0, y=-3.0), '', 0.0)
    np.testing.assert_allclose(teleop.action(0.0), [0.025, -0.025], rtol=1e-6)


def test_without_a_fresh_twist_the_action_holds(embodiment):
    teleop = TeleopInput(embodiment, '', twist_timeout_s=STALE)
    assert not teleop.action(0.0).any()
    teleop.receive(twist(x=0.1), '', 10.0)
    assert teleop.action(10.0 + STALE).any()
    assert not teleop.action(10.01 + STALE).any()


@pytest.mark.parametrize(
    ('numbers', 'frame', 'complaint'),
    [
        (twist(x=0.1), 'camera', "frame: expected table, got 'camera'"),
        (twist(x=np.nan), 'table', 'expected finite numbers'),
    ],
)
def test_a_twist_that_is_rejected_holds(embodiment, numbers, frame, complaint):
    teleop = TeleopInput(embodiment, '', twist_timeout_s=STALE)
    teleop.receive(twist(x=0.1), 'table', 1.0)
    with pytest.raises(ValueError, match=complaint):
        teleop.receive(numbers, frame, 1.1)
    assert not teleop.action(1.1).any()


def test_an_absolute_velocity_command_gets_the_speed_itself():
    teleop = TeleopInput(
        make_arm(SERVO, mode='absolute', low=-1.0, high=1.0), '', twist_timeout_s=STALE
    )
    teleop.receive(twist(x=0.2, yaw=0.5, y=9.0), 'base', 0.0)
    np.testing.assert_allclose(teleop.action(0.0), [0.2, 0.5], rtol=1e-6)


def test_joints_are_driven_by_the_named_components():
    with pytest.raises(ValueError, match=r'axes: expected one of x, y, z, .* got joint1, joint2'):
        TeleopInput(make_arm(TRAJECTORY), '', twist_timeout_s=STALE)
    teleop = TeleopInput(make_arm(TRAJECTORY), 'yaw, x', twist_timeout_s=STALE)
    teleop.receive(twist(x=0.1, yaw=0.5), '', 0.0)
    np.testing.assert_allclose(teleop.action(0.0), [0.05, 0.01], rtol=1e-6)


def test_too_few_components_are_refused(embodiment):
    with pytest.raises(ValueError, match='for each of delta_x, delta_y, got x'):
        TeleopInput(embodiment, 'x', twist_timeout_s=STALE)


@pytest.mark.parametrize('kind', [TRAJECTORY, POSITIONS])
def test_absolute_positions_are_refused(kind):
    with pytest.raises(ValueError, match='delta, or a driver of velocities'):
        TeleopInput(make_arm(kind, mode='absolute'), 'x,y', twist_timeout_s=STALE)


def test_a_gripper_begins_open_closes_at_the_given_speed_and_stays():
    arm = make_arm(SERVO, low=0.0, high=0.08, axes=('x', 'gripper'), gripper=GRIPPER)
    teleop = TeleopInput(one_dimension(arm), 'x,z', twist_timeout_s=STALE)
    assert teleop.action(0.0)[1] == pytest.approx(0.08)
    teleop.receive(twist(z=-0.3), '', 1.0)
    assert teleop.action(1.0)[1] == pytest.approx(0.05)
    assert teleop.action(1.1)[1] == pytest.approx(0.02)
    assert teleop.action(9.0)[1] == pytest.approx(0.02)
    teleop.receive(twist(z=-0.3), '', 10.0)
    assert teleop.action(10.0)[1] == 0.0


def test_the_embodiment_of_the_table_has_the_default_command(embodiment):
    assert embodiment.command == Command()


def test_a_button_gives_its_event_once_when_it_goes_down():
    buttons = Buttons(start=0, success=2, discard=-1)
    assert buttons.press([0, 0, 0]) == []
    assert buttons.press([1, 0, 0]) == ['start']
    assert buttons.press([1, 1, 1]) == ['success']
    assert buttons.press([0, 1, 1]) == []
    assert buttons.press([1, 1, 0]) == ['start']


def test_a_device_with_fewer_buttons_gives_fewer_events():
    assert Buttons(start=0, success=7).press([1]) == ['start']


def test_a_simulated_robot_whose_units_no_twist_has_is_refused_in_one_line(tmp_path):
    robot = load_embodiment(hand.write(tmp_path / 'hand.yaml'))
    with pytest.raises(ValueError, match=r'command.controller: expected .*twist.* got simulated'):
        TeleopInput(robot, 'x,y,z,roll', twist_timeout_s=STALE)
