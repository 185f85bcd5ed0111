"""The finding of each fault, without a robot."""

from __future__ import annotations

from types import SimpleNamespace

from arms import GRIPPER, JOINTS, make_arm, pose
from efm_bringup.robot_check import (
    Endpoint,
    examine,
    FAULT,
    RobotObservation,
    TopicObservation,
    WARNING,
)
from efm_core.poses import TransformTree
import pytest

JOINT = 'forward_velocity_controller'
SERVO = 'moveit_servo'
IMAGE = 'sensor_msgs/msg/Image'
STATES = 'sensor_msgs/msg/JointState'
NOW = 10**12
PERIOD = 50_000_000


def stream(newest, kind, period=PERIOD, skew=0):
    """Return a topic on which a message came every period [ns]."""
    arrivals = [(at, at - skew) for at in range(NOW - 20 * period, NOW, period)]
    return TopicObservation([Endpoint('/driver', kind)], [], arrivals=arrivals, newest=newest)


def sound(robot):
    """Return the observation of a robot without faults."""
    picture = SimpleNamespace(height=64, width=64, encoding='rgb8')
    joints = SimpleNamespace(name=list(JOINTS), position=[0.1] * 6)
    tree = TransformTree()
    tree.put('base', 'tool', pose(0.4, 0.0, 0.2), NOW - 10**7)
    observed = {
        'image': stream(picture, IMAGE),
        'joint_states': stream(joints, STATES),
        'driver/command': TopicObservation([], [Endpoint('/driver', robot.command.type)]),
        'estop': TopicObservation([Endpoint('/switch', 'std_msgs/msg/Bool')]),
    }
    return RobotObservation(
        observed, {'/r/reset_world', '/r/gripper_cmd/_action/send_goal'}, tree=tree, now=NOW
    )


@pytest.mark.parametrize('kind', [JOINT, SERVO])
def test_a_robot_without_faults_has_no_findings(kind):
    robot = make_arm(kind)
    assert examine(sound(robot), robot, 0.1) == []


def remove(robot, topic):
    robot.topics[topic] = TopicObservation()


def other_type(robot):
    robot.topics['image'].publishers.append(Endpoint('/other', 'sensor_msgs/msg/CompressedImage'))


def silent(robot):
    robot.topics['image'].arrivals[:] = []


def slow(robot):
    robot.topics['image'] = stream(robot.topics['image'].newest, IMAGE, 200_000_000)


def skewed(robot):
    robot.topics['joint_states'] = stream(
        robot.topics['joint_states'].newest, STATES, skew=3 * 10**9
    )


def backwards(robot):
    times = robot.topics['joint_states'].arrivals
    times[5] = (times[5][0], times[4][1])


def set_newest(robot, topic, **changes):
    vars(robot.topics[topic].newest).update(changes)


def add(robot, whose, endpoint):
    getattr(robot.topics['driver/command'], whose).append(endpoint)


FAULTS = {
    'no camera': (lambda r: remove(r, 'image'), 'image', 'expected a publisher, got none'),
    'camera of another type': (other_type, 'image', 'type: expected sensor_msgs/msg/Image, got'),
    'silent camera': (silent, 'image', 'expected messages, got 0'),
    'slow camera': (slow, 'image', 'rate: expected 10 Hz or more, got 5 Hz'),
    'size': (
        lambda r: set_newest(r, 'image', height=480),
        'image',
        'size: expected 64 x 64 px, got 480 x 64',
    ),
    'encoding': (
        lambda r: set_newest(r, 'image', encoding='mono8'),
        'image',
        "encoding: expected rgb8, bgr8, rgba8, bgra8, got 'mono8'",
    ),
    'skew': (skewed, 'joint_states', 'at most 0.1 s from this clock, got 3.000 s'),
    'order of stamps': (backwards, 'joint_states', 'stamps: expected each later'),
    'joint names': (
        lambda r: set_newest(r, 'joint_states', name=['left_' + name for name in JOINTS]),
        'joint_states',
        'joints: expected joint1',
    ),
    'joint limits': (
        lambda r: set_newest(r, 'joint_states', position=[0.1, 2.5, 0, 0, 0, 0]),
        'joint_states',
        'limit of joint2: expected -2.0 to 2.0, got 2.5',
    ),
    'no driver': (
        lambda r: remove(r, 'driver/command'),
        'driver/command',
        'expected a subscriber, got none',
    ),
    'driver of another type': (
        lambda r: add(r, 'subscribers', Endpoint('/old', 'std_msgs/msg/String')),
        'driver/command',
        '/old subscribes std_msgs/msg/String',
    ),
    'driver with another durability': (
        lambda r: add(
            r,
            'subscribers',
            Endpoint('/d', 'std_msgs/msg/Float64MultiArray', reliable=True, latched=True),
        ),
        'driver/command',
        '/d asks for transient local',
    ),
    'another commander': (
        lambda r: add(r, 'publishers', Endpoint('/r/teleop', 'std_msgs/msg/Float64MultiArray')),
        'driver/command',
        'expected no publisher but the guard, got /r/teleop',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_a_fault_is_found_and_nothing_else(name):
    break_it, subject, problem = FAULTS[name]
    robot = make_arm(JOINT)
    seen = sound(robot)
    break_it(seen)
    findings = examine(seen, robot, 0.1)
    assert len(findings) == 1
    assert (findings[0].severity, findings[0].subject) == (FAULT, subject)
    assert problem in findings[0].problem
    assert findings[0].fix


@pytest.mark.parametrize(
    ('transform', 'problem'),
    [
        (None, 'tf: expected tool under base, got frames none'),
        ((pose(0.4), NOW - 10**9), 'age of tool in base: expected at most 0.2 s, got 1.00 s'),
        ((pose(0.4), None), 'got a constant one'),
        ((pose(3.0), NOW), 'workspace: expected the tool in'),
    ],
)
def test_the_tool_pose_must_be_known_and_inside_the_workspace(transform, problem):
    robot = make_arm(SERVO)
    seen = sound(robot)
    seen.tree.parents.clear()
    if transform:
        seen.tree.put('base', 'tool', *transform)
    findings = examine(seen, robot, 0.1)
    assert len(findings) == 1
    assert problem in findings[0].problem


def test_the_guard_may_publish_commands():
    robot = make_arm(JOINT)
    seen = sound(robot)
    add(seen, 'publishers', Endpoint('/robot_0/guard', robot.command.type))
    assert examine(seen, robot, 0.1) == []


def test_a_gripper_without_its_action_is_a_fault():
    robot = make_arm(JOINT, low=0, high=0.08, axes=('joint1', 'gripper'), gripper=GRIPPER)
    seen = sound(robot)
    assert examine(seen, robot, 0.1) == []
    seen.services.discard('/r/gripper_cmd/_action/send_goal')
    assert [finding.subject for finding in examine(seen, robot, 0.1)] == ['gripper']


def test_a_missing_reset_service_and_emergency_stop_are_warnings():
    robot = make_arm(JOINT)
    seen = sound(robot)
    seen.services.clear()
    remove(seen, 'estop')
    assert [finding.severity for finding in examine(seen, robot, 0.1)] == [WARNING, WARNING]
