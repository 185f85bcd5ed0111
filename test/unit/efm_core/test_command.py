"""What may be said of a robot's driver, and what is refused before anything moves."""

from __future__ import annotations

from dataclasses import replace

from arms import GRIPPER, JOINT_LIMITS, JOINTS, KINDS, make_arm, make_command, TOOL_LIMITS
from efm_core.command import Command, Gripper, Limits, TWIST
from efm_core.topics import COMMAND, command_topic
import pytest

JOINT = 'forward_position_controller'
SERVO = 'moveit_servo'
POSE = 'cartesian_pose_controller'


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_driver_has_its_topic_and_type(kind):
    command = make_arm(kind).command
    topic = command_topic(command)
    assert (topic.name, topic.type, topic.qos) == ('driver/command', command.type, COMMAND.qos)


def test_the_tables_command_is_the_row_of_the_table():
    assert command_topic(Command()) == COMMAND
    assert Command().is_planar_displacement
    assert Command().later_fields() == {}


@pytest.mark.parametrize(
    ('kind', 'wrong', 'said'),
    [
        (JOINT, {'type': TWIST}, f'command.type of {JOINT}: expected std_msgs/msg/Float64Multi'),
        (JOINT, {'mode': 'both'}, 'command.mode: expected one of delta, absolute'),
        (JOINT, {'axes': ()}, 'command.axes: expected what the action drives'),
        (JOINT, {'axes': ('joint1', 'joint9')}, 'command.axes: expected each once, of joint1'),
        (JOINT, {'axes': ('joint1', 'joint1')}, 'command.axes: expected each once'),
        (JOINT, {'axes': ('joint1', 'gripper')}, 'command.axes: expected each once'),
        (JOINT, {'gripper': GRIPPER}, 'command.axes: expected gripper, which is configured'),
        (JOINT, {'joints': ()}, 'command.axes: expected each once'),
        (JOINT, {'joints': ('joint1', 'joint2', 'joint1')}, 'command.joints: .*each once'),
        (JOINT, {'limits': Limits()}, 'limits.position_min: expected one for each of 6 joints'),
        (
            JOINT,
            {'limits': replace(JOINT_LIMITS, max_velocity=(1.0,))},
            'limits.max_velocity: expected',
        ),
        (JOINT, {'state_timeout_s': 0.0}, 'command.state_timeout_s'),
        (JOINT, {'horizon_s': -1.0}, 'command.horizon_s'),
        (SERVO, {'axes': ('x', 'joint1')}, 'command.axes'),
        (SERVO, {'limits': Limits()}, 'limits.max_linear_velocity: expected more than zero'),
        (
            SERVO,
            {'limits': replace(TOOL_LIMITS, max_angular_velocity=0.0)},
            'limits.max_angular_velocity',
        ),
        (SERVO, {'tool_frame': ''}, 'command.tool_frame: expected a frame'),
        (SERVO, {'tool_frame': 'base'}, 'command.tool_frame'),
        (SERVO, {'scale': (0.4,)}, 'command.scale: expected linear and rotational'),
        (SERVO, {'scale': (0.2, 2.0)}, r'limits: expected speeds within command.scale'),
        (POSE, {'scale': (0.4, 0.8)}, 'command.scale'),
        (POSE, {'mode': 'absolute'}, 'command.mode: expected delta where the tool turns'),
        (
            POSE,
            {'limits': replace(TOOL_LIMITS, workspace_min=(), workspace_max=())},
            'limits.workspace_min: expected x, y, z',
        ),
    ],
)
def test_what_no_driver_could_follow_safely_is_refused(kind, wrong, said):
    with pytest.raises(ValueError, match=said):
        make_command(kind, **wrong)


def test_an_unknown_driver_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"controller: expected one of .*servo.*, got 'magic'"):
        Command(controller='magic')


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'position_min': (0.0,)}, 'position: expected as many low as high'),
        (
            {'workspace_min': (0.0,), 'workspace_max': (1.0,)},
            'limits.workspace_min: expected x, y, z',
        ),
        (
            {'workspace_min': (0.0, 0.0, 2.0), 'workspace_max': (1.0, 1.0, 1.0)},
            'workspace: .* low < high',
        ),
        ({'max_velocity': (1.0, 0.0)}, 'limits: expected speeds and lead above zero'),
        ({'max_linear_velocity': float('inf')}, 'limits: expected speeds'),
        ({'max_following_error': -0.1}, 'limits: expected speeds'),
        (
            {'on_violation': 'bounce'},
            "limits.on_violation: expected one of refuse, clamp, got 'bounce'",
        ),
    ],
)
def test_limits_that_are_none_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Limits(**wrong)


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'type': 'control_msgs/action/Other'}, 'gripper.type: expected one of'),
        ({}, 'gripper: expected as many low as high, and low < high'),
        (
            {'type': 'control_msgs/action/ParallelGripperCommand', 'high': 1.0},
            "gripper.joint: expected a joint's name",
        ),
    ],
)
def test_a_gripper_that_cannot_move_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Gripper('gripper_cmd', **wrong)


def test_the_simulated_tables_command_takes_nothing_that_it_would_not_use():
    with pytest.raises(ValueError, match=r'command of displacement: .*joints.*limits'):
        Command(joints=JOINTS, limits=JOINT_LIMITS)


def test_an_action_has_one_value_for_each_axis():
    robot = make_arm(JOINT)
    with pytest.raises(ValueError, match=r'command.axes: expected one for each of'):
        replace(robot, command=make_command(JOINT, axes=('joint1',)))


def test_an_action_may_not_leave_the_grippers_range():
    changes = {'axes': ('joint1', 'gripper'), 'gripper': GRIPPER}
    make_arm(JOINT, low=0.0, high=0.08, **changes)
    with pytest.raises(
        ValueError, match=r'action of the gripper: expected a range in 0.0 to 0.08'
    ):
        make_arm(JOINT, low=0.0, high=0.09, **changes)


def test_what_a_driver_is_told_is_part_of_the_contract():
    robots = [
        make_arm(JOINT),
        make_arm(JOINT, topic='other'),
        make_arm(JOINT, limits=replace(JOINT_LIMITS, max_following_error=0.4)),
        make_arm(JOINT, mode='absolute'),
    ]
    assert len({robot.hash for robot in robots}) == 4
