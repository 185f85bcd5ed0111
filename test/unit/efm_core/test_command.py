"""The command block of an embodiment: valid for each driver, refused before anything moves."""

from __future__ import annotations

from dataclasses import fields, replace

from arms import GRIPPER, JOINT_LIMITS, JOINTS, KINDS, make_arm, make_command, TOOL_LIMITS
from efm_core.command import Command, CONTROLLERS, Gripper, Limits, TWIST
from efm_core.topics import COMMAND, command_topic
import pytest

JOINT = 'forward_position_controller'
SERVO = 'moveit_servo'
POSE = 'cartesian_pose_controller'
VELOCITY = 'forward_velocity_controller'
BOX = ((-1.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_driver_has_its_topic_and_type(kind):
    command = make_arm(kind).command
    topic = command_topic(command)
    assert (topic.name, topic.type, topic.qos) == ('driver/command', command.type, COMMAND.qos)


def test_the_tables_command_is_the_row_of_the_table():
    assert command_topic(Command()) == COMMAND
    assert Command().is_planar_displacement


@pytest.mark.parametrize(
    ('kind', 'wrong', 'said'),
    [
        (JOINT, {'type': TWIST}, f'command.type of {JOINT}: expected std_msgs/msg/Float64Multi'),
        (JOINT, {'mode': 'both'}, 'command.mode: expected one of delta, absolute'),
        (JOINT, {'axes': ()}, 'command.axes: expected one axis for each action'),
        (
            JOINT,
            {'axes': ('joint1', 'joint9')},
            'command.axes: expected each axis once, out of joint1',
        ),
        (JOINT, {'axes': ('joint1', 'joint1')}, 'command.axes: expected each axis once'),
        (JOINT, {'axes': ('joint1', 'gripper')}, 'command.axes: expected each axis once'),
        (JOINT, {'gripper': GRIPPER}, 'command.axes: expected gripper among them'),
        (JOINT, {'joints': ()}, 'command.axes: expected each axis once'),
        (
            JOINT,
            {'joints': ('joint1', 'joint2', 'joint1')},
            'command.joints: expected each joint of the driver once',
        ),
        (JOINT, {'limits': Limits()}, 'limits.position_min: expected one for each of 6 joints'),
        (
            JOINT,
            {'limits': replace(JOINT_LIMITS, max_velocity=(1.0,))},
            'limits.max_velocity: expected',
        ),
        (JOINT, {'state_timeout_s': 0.0}, 'command.state_timeout_s: expected 0.001 to 60 s'),
        (JOINT, {'horizon_s': -1.0}, 'command.horizon_s'),
        (SERVO, {'axes': ('x', 'joint1')}, 'command.axes'),
        (SERVO, {'limits': Limits()}, 'limits.max_linear_velocity: expected above 0'),
        (
            SERVO,
            {'limits': replace(TOOL_LIMITS, max_angular_velocity=0.0)},
            'limits.max_angular_velocity',
        ),
        (SERVO, {'tool_frame': ''}, 'command.tool_frame: expected a frame besides base'),
        (SERVO, {'tool_frame': 'base'}, 'command.tool_frame'),
        (SERVO, {'scale': (0.4,)}, 'command.scale: expected two values above 0'),
        (SERVO, {'scale': (0.2, 2.0)}, r'limits: expected speeds up to command.scale'),
        (POSE, {'scale': (0.4, 0.8)}, 'command.scale: expected no value'),
        (POSE, {'mode': 'absolute'}, 'command.mode: expected delta for a tool that turns'),
        (
            POSE,
            {'limits': replace(TOOL_LIMITS, workspace_min=(), workspace_max=())},
            'limits.workspace_min: expected x, y, z',
        ),
    ],
)
def test_a_command_that_no_driver_can_follow_safely_is_refused(kind, wrong, said):
    with pytest.raises(ValueError, match=said):
        make_command(kind, **wrong)


def test_an_unknown_driver_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"controller: expected one of .*servo.*, got 'magic'"):
        Command(controller='magic')


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'position_min': (0.0,)}, 'limits.position_max: expected as many minima as maxima'),
        (
            {'workspace_min': (0.0,), 'workspace_max': (1.0,)},
            'limits.workspace_min: expected x, y, z',
        ),
        (
            {'workspace_min': (0.0, 0.0, 2.0), 'workspace_max': (1.0, 1.0, 1.0)},
            'limits.workspace_max: .* each minimum below its maximum',
        ),
        ({'max_velocity': (1.0, 0.0)}, 'limits.max_velocity: expected speeds above 0'),
        ({'max_linear_velocity': float('inf')}, 'limits.max_linear_velocity: expected 0'),
        ({'max_following_error': -0.1}, 'limits.max_following_error: expected 0'),
        (
            {'on_violation': 'bounce'},
            "limits.on_violation: expected one of refuse, clamp, got 'bounce'",
        ),
    ],
)
def test_limits_that_limit_nothing_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Limits(**wrong)


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'type': 'control_msgs/action/Other'}, 'gripper.type: expected one of'),
        ({}, 'gripper.low, gripper.high: .* each minimum below its maximum'),
        (
            {'type': 'control_msgs/action/ParallelGripperCommand', 'high': 1.0},
            'gripper.joint: expected the name of a joint',
        ),
    ],
)
def test_a_gripper_that_cannot_move_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Gripper('gripper_cmd', **wrong)


def test_a_gripper_without_the_name_of_its_action_is_refused():
    with pytest.raises(ValueError, match=r'gripper.action: expected a name, because it has high'):
        Gripper(high=0.08)


def test_the_simulated_tables_command_refuses_fields_that_it_does_not_use():
    with pytest.raises(ValueError, match=r'command.joints, command.limits.position_min.*no value'):
        Command(joints=JOINTS, limits=JOINT_LIMITS)


@pytest.mark.parametrize(
    ('kind', 'unused'),
    [
        (JOINT, {'tool_frame': 'tool'}),
        (JOINT, {'pose_topic': 'pose'}),
        (JOINT, {'horizon_s': 0.1}),
        (JOINT, {'limits': replace(JOINT_LIMITS, max_linear_velocity=0.1)}),
        (JOINT, {'limits': replace(JOINT_LIMITS, workspace_min=BOX[0], workspace_max=BOX[1])}),
        (VELOCITY, {'limits': JOINT_LIMITS}),  # max_following_error: there is no position
        (SERVO, {'limits': replace(TOOL_LIMITS, max_following_error=0.1)}),
        (SERVO, {'limits': replace(TOOL_LIMITS, max_velocity=(1.0,))}),
        (SERVO, {'horizon_s': 0.1}),
        (POSE, {'limits': replace(TOOL_LIMITS, position_min=(0.0,), position_max=(1.0,))}),
    ],
)
def test_a_field_that_the_driver_does_not_use_is_refused(kind, unused):
    message = f'command.*: expected no value, because the driver {kind} does not use it, got '
    with pytest.raises(ValueError, match=message):
        make_command(kind, **unused)


def test_each_driver_uses_fields_that_exist():
    command = {field.name for field in fields(Command)}
    limits = {f'limits.{field.name}' for field in fields(Limits)}
    used = [controller.fields for controller in CONTROLLERS.values()]
    assert {name for names in used for name in names} <= command | limits
    assert limits - {'limits._'} <= {name for names in used for name in names}


def test_an_action_has_one_value_for_each_axis():
    robot = make_arm(JOINT)
    with pytest.raises(ValueError, match=r'command.axes: expected one for each of'):
        replace(robot, command=make_command(JOINT, axes=('joint1',)))


def test_an_action_may_not_exceed_the_range_of_the_gripper():
    changes = {'axes': ('joint1', 'gripper'), 'gripper': GRIPPER}
    make_arm(JOINT, low=0.0, high=0.08, **changes)
    with pytest.raises(ValueError, match=r'action of the gripper: expected values in 0.0 to 0.08'):
        make_arm(JOINT, low=0.0, high=0.09, **changes)


def test_the_command_block_is_part_of_the_contract():
    robots = [
        make_arm(JOINT),
        make_arm(JOINT, topic='other'),
        make_arm(JOINT, limits=replace(JOINT_LIMITS, max_following_error=0.4)),
        make_arm(JOINT, mode='absolute'),
    ]
    assert len({robot.hash for robot in robots}) == 4
