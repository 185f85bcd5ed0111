"""The finding of each fault, without a robot."""

from __future__ import annotations

from dataclasses import replace
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
from efm_core.images import encode_png
from efm_core.messages import to_ns
from efm_core.poses import TransformTree
import numpy as np
import pytest

JOINT = 'forward_velocity_controller'
SERVO = 'moveit_servo'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
STATES = 'sensor_msgs/msg/JointState'
POSE = 'geometry_msgs/msg/PoseStamped'
NOW = 10**12
PERIOD = 50_000_000


def message(frame='', **fields):
    stamp = SimpleNamespace(sec=0, nanosec=0)
    return SimpleNamespace(header=SimpleNamespace(frame_id=frame, stamp=stamp), **fields)


def picture(height=64, width=64, **changes):
    fields = {'height': height, 'width': width, 'encoding': 'rgb8', 'step': 3 * width}
    fields['data'] = bytes(fields['step'] * height)
    return message(**{**fields, **changes})


def states(names=JOINTS, positions=(0.1,) * 6):
    return message(name=list(names), position=list(positions))


def tool(frame='base', x=0.4):
    place = SimpleNamespace(x=x, y=0.0, z=0.2)
    turn = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    return message(frame, pose=SimpleNamespace(position=place, orientation=turn))


def add(seen, newest, period=PERIOD, skew=0, first=0):
    """Add a message that came every period [ns]."""
    for arrival in range(NOW - 20 * period + first, NOW, period):
        stamp = newest.header.stamp
        stamp.sec, stamp.nanosec = divmod(arrival - skew, 10**9)
        assert to_ns(stamp) == arrival - skew
        seen.add(newest, arrival)


def stream(newest, kind, **timing):
    """Return a topic with one publisher."""
    seen = TopicObservation([Endpoint('/driver', kind)])
    add(seen, newest, **timing)
    return seen


def sound(robot):
    """Return the observation of a robot without faults."""
    tree = TransformTree()
    tree.put('base', 'tool', pose(0.4, 0.0, 0.2), NOW - 10**7)
    observed = {
        'image': stream(picture(), IMAGE),
        'joint_states': stream(states(), STATES),
        'driver/command': TopicObservation([], [Endpoint('/driver', robot.command.type)]),
        'estop': TopicObservation([Endpoint('/switch', 'std_msgs/msg/Bool')]),
        **{name: TopicObservation() for name in ('teleop_twist', 'joy', '/tf', '/tf_static')},
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


def put(topic, newest, kind, **timing):
    """Return a function that replaces the messages of a topic."""

    def change(robot):
        robot.topics[topic] = stream(newest, kind, **timing)

    return change


def refuse(topic, reason='best effort publisher and reliable subscription'):
    """Return a function that adds a publisher that DDS does not connect."""

    def change(robot):
        kinds = {'estop': 'std_msgs/msg/Bool', 'joy': 'sensor_msgs/msg/Joy', 'image': IMAGE}
        endpoint = Endpoint('/lost', kinds[topic], mismatch=reason)
        robot.topics[topic].publishers.append(endpoint)

    return change


def other_type(robot):
    robot.topics['image'].publishers.append(Endpoint('/other', COMPRESSED))


def backwards(robot):
    (source,) = robot.topics['joint_states'].sources.values()
    source.arrivals[5] = (source.arrivals[5][0], source.arrivals[4][1])


def listen(robot, endpoint):
    robot.topics['driver/command'].subscribers.append(endpoint)


LEFT = ['left_' + name for name in JOINTS]
FAULTS = {
    'no camera': (lambda r: remove(r, 'image'), 'image', 'expected a publisher, got none'),
    'camera of another type': (
        other_type,
        'image',
        'type: expected sensor_msgs/msg/Image, /other has sensor_msgs/msg/CompressedImage',
    ),
    'silent camera': (
        lambda r: r.topics['image'].sources.clear(),
        'image',
        'expected messages, got 0',
    ),
    'slow camera': (
        put('image', picture(), IMAGE, period=200_000_000),
        'image',
        'rate: expected 10 Hz or more, got 5 Hz',
    ),
    'size': (put('image', picture(480), IMAGE), 'image', 'expected shape (64, 64, 3), got (480,'),
    'encoding': (
        put('image', picture(encoding='mono8'), IMAGE),
        'image',
        "expected encoding rgb8, bgr8, rgba8, bgra8, got 'mono8'",
    ),
    'rows without bytes': (
        put('image', picture(step=0), IMAGE),
        'image',
        'image: expected 64 x 0 bytes for rows of 64 px, got 12288',
    ),
    'data too short': (
        put('image', picture(data=bytes(5)), IMAGE),
        'image',
        'image: expected 64 x 192 bytes for rows of 64 px, got 5',
    ),
    'skew': (
        put('joint_states', states(), STATES, skew=3 * 10**9),
        'joint_states',
        'at most 0.1 s from this clock, got 3.000 s',
    ),
    'order of stamps': (backwards, 'joint_states', 'stamps: expected each later'),
    'joint names': (
        put('joint_states', states(LEFT), STATES),
        'joint_states',
        'joints: expected joint1',
    ),
    'joint limits': (
        put('joint_states', states(positions=[0.1, 2.5, 0, 0, 0, 0]), STATES),
        'joint_states',
        'limit of joint2: expected -2.0 to 2.0, got 2.5',
    ),
    'joints that are not numbers': (
        put('joint_states', states(positions=[0.1, np.nan, 0, 0, 0, 0]), STATES),
        'joint_states',
        'joint_states: expected finite positions, got [0.1 nan 0.',
    ),
    'joints without positions': (
        put('joint_states', states(positions=()), STATES),
        'joint_states',
        'joint_states: expected a position of each joint, got 0 for joint1, joint2',
    ),
    'no driver': (
        lambda r: remove(r, 'driver/command'),
        'driver/command',
        'expected a subscriber, got none',
    ),
    'driver of another type': (
        lambda r: listen(r, Endpoint('/old', 'std_msgs/msg/String')),
        'driver/command',
        '/old subscribes std_msgs/msg/String',
    ),
    'driver with another durability': (
        lambda r: listen(
            r, Endpoint('/d', 'std_msgs/msg/Float64MultiArray', mismatch='volatile publisher')
        ),
        'driver/command',
        '/d receives no command: volatile publisher',
    ),
    'another commander': (
        lambda r: r.topics['driver/command'].publishers.append(
            Endpoint('/r/teleop', 'std_msgs/msg/Float64MultiArray')
        ),
        'driver/command',
        'expected no publisher but the guard, got /r/teleop',
    ),
    'a switch that DDS does not connect': (
        refuse('estop', 'volatile publisher and transient local subscription'),
        'estop',
        'DDS connects, /lost is refused: volatile publisher and transient local subscription',
    ),
    'a switch of another type': (
        lambda r: r.topics['estop'].publishers.append(Endpoint('/old', 'std_msgs/msg/Empty')),
        'estop',
        'type: expected std_msgs/msg/Bool, /old has std_msgs/msg/Empty',
    ),
    'buttons that DDS does not connect': (refuse('joy'), 'joy', '/lost is refused: best effort'),
    'a second camera that DDS does not connect': (refuse('image'), 'image', '/lost is refused'),
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
    assert '\n' not in findings[0].problem + findings[0].fix


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
    seen.topics['driver/command'].publishers.append(Endpoint('/robot_0/guard', robot.command.type))
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


def with_camera(topic, newest):
    """Return a robot with another camera topic, and its observation."""
    robot = make_arm(JOINT)
    camera = replace(robot.cameras[0], topic=topic)
    robot = replace(robot, cameras=(camera,))
    seen = sound(robot)
    kind = COMPRESSED if hasattr(newest, 'format') else IMAGE
    seen.topics[topic] = stream(newest, kind)
    return robot, seen


def compressed(data, kind='jpeg'):
    return message(format=kind, data=data)


PNG = encode_png(np.zeros((64, 64, 3), np.uint8))


def test_a_compressed_camera_and_one_with_a_similar_name_pass():
    for topic, newest in (
        ('image/compressed', compressed(PNG)),
        ('compressed', compressed(PNG)),
        ('image_uncompressed', picture()),
    ):
        robot, seen = with_camera(topic, newest)
        assert examine(seen, robot, 0.1) == []


@pytest.mark.parametrize(
    ('newest', 'problem', 'fix'),
    [
        (
            compressed(encode_png(np.zeros((32, 48, 3), np.uint8))),
            'expected shape (64, 64, 3), got (32, 48, 3)',
            'height, width and crop',
        ),
        (
            compressed(b'\0\0\0\1\x67video', 'h264'),
            'expected PNG or JPEG data',
            "publish JPEG or PNG; the format says 'h264'",
        ),
        (compressed(PNG[:40]), 'expected PNG or JPEG data', 'publish JPEG or PNG'),
        (compressed(b''), 'expected PNG or JPEG data, got 0 bytes', 'publish JPEG or PNG'),
    ],
    ids=['size', 'video', 'torn', 'empty'],
)
def test_a_compressed_image_that_the_policy_cannot_use_is_a_fault(newest, problem, fix):
    robot, seen = with_camera('image/compressed', newest)
    findings = examine(seen, robot, 0.1)
    assert len(findings) == 1
    assert problem in findings[0].problem
    assert fix in findings[0].fix


def test_publishers_of_other_parts_of_the_robot_are_no_fault():
    robot = make_arm(JOINT)
    seen = sound(robot)
    add(seen.topics['joint_states'], states(['finger'], [0.02]), period=7_000_000, first=1000)
    add(seen.topics['joint_states'], states(['wheel', 'joint1'], [np.nan, 0.0]), first=2000)
    assert examine(seen, robot, 0.1) == []


def test_joints_in_several_messages_are_a_fault_that_says_so():
    robot = make_arm(JOINT)
    seen = sound(robot)
    halves = stream(states(JOINTS[:3], [0.1] * 3), STATES)
    add(halves, states(JOINTS[3:], [0.1] * 3), first=1000)
    seen.topics['joint_states'] = halves
    (finding,) = examine(seen, robot, 0.1)
    assert 'in one message, got them apart: joint1, joint2, joint3 and joint4' in finding.problem
    assert 'joint_state_publisher' in finding.fix


def test_a_second_publisher_with_bad_joints_is_a_warning_because_the_guard_ignores_it():
    robot = make_arm(JOINT)
    seen = sound(robot)
    add(seen.topics['joint_states'], states(positions=[np.nan] * 6), first=1000)
    (finding,) = examine(seen, robot, 0.1)
    assert (finding.severity, finding.subject) == (WARNING, 'joint_states')
    assert 'expected finite positions' in finding.problem


def test_a_second_camera_on_the_topic_is_judged_by_its_own_images():
    robot = make_arm(JOINT)
    seen = sound(robot)
    add(seen.topics['image'], picture(encoding='16UC1'), first=1000)
    (finding,) = examine(seen, robot, 0.1)
    assert "got '16UC1'" in finding.problem


@pytest.mark.parametrize(
    ('newest', 'problem'),
    [
        (tool(), ''),
        (tool('odom'), "pose: expected frame base, got 'odom'"),
        (tool(x=np.nan), 'pose: expected finite numbers'),
        (tool(x=3.0), 'workspace: expected the tool in'),
    ],
)
def test_a_pose_is_judged_as_the_guard_reads_it(newest, problem):
    robot = make_arm('cartesian_pose_controller', pose_topic='tool_pose')
    seen = sound(robot)
    seen.topics['tool_pose'] = stream(newest, POSE)
    problems = [finding.problem for finding in examine(seen, robot, 0.1)]
    assert len(problems) == bool(problem)
    assert all(problem in found for found in problems)


def test_simulated_time_that_never_comes_is_the_only_fault_of_time():
    robot = make_arm(SERVO)
    seen = sound(robot)
    seen.now = 0
    (finding,) = examine(seen, robot, 0.1)
    assert (finding.subject, finding.severity) == ('/clock', FAULT)
    assert 'leave out --use-sim-time' in finding.fix


def test_messages_before_the_first_simulated_time_have_no_say_in_rates():
    robot = make_arm(JOINT)
    seen = sound(robot)
    (source,) = seen.topics['image'].sources.values()
    source.arrivals[:0] = [(0, source.arrivals[0][1] - n) for n in range(50, 0, -1)]
    assert examine(seen, robot, 0.1) == []


def test_stamps_of_a_simulator_name_the_option_for_simulated_time():
    robot = make_arm(JOINT)
    seen = sound(robot)
    (source,) = seen.topics['image'].sources.values()
    source.arrivals[:] = [(arrival + 10**18, stamp) for arrival, stamp in source.arrivals]
    (finding,) = examine(seen, robot, 0.1)
    assert 'stamps: expected at most 0.1 s from this clock' in finding.problem
    assert 'check with --use-sim-time' in finding.fix
