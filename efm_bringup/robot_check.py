"""
The check of a running robot against its embodiment: from observed topics to findings.

Each message is checked with the code of its consumer: images with the decoding of the policy,
states with the reader of the guard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, KW_ONLY
from typing import Any

from efm_core import topics
from efm_core.command import GRIPPER
from efm_core.embodiment import Camera, Embodiment, TOOL_POSE
from efm_core.messages import (
    CHANNEL_ORDER,
    to_image,
    to_measured_state,
    to_pose_in,
    to_positions_of,
    to_stamp,
)
from efm_core.poses import TransformTree
from efm_core.preprocessing import preprocess, read_part
from efm_core.topics import Topic
import numpy as np

FAULT = 'fault'
WARNING = 'warning'
# Nodes that may publish commands.
GUARDS = ('guard', 'guard_node', 'guard_watch', 'guard_watch_node')
DAY_S = 86_400.0
# The transforms that the guard reads, with the QoS that it requests.
TRANSFORMS = (
    Topic(topics.TF, 'tf2_msgs/msg/TFMessage', qos=topics.RELIABLE, meaning='transforms'),
    Topic(topics.TF_STATIC, 'tf2_msgs/msg/TFMessage', qos=topics.LATCHED, meaning='transforms'),
)
# Topics that a person publishes; only the emergency stop must have a publisher.
OPERATED = (topics.ESTOP, topics.TELEOP_TWIST, topics.JOY)


@dataclass(frozen=True)
class Endpoint:
    """
    A publisher or subscription of another node.

    :param node: namespace and name.
    :param type: message type.
    :param mismatch: why DDS does not connect it with the suite; empty when it does.
    """

    node: str
    type: str
    _: KW_ONLY
    mismatch: str = ''


@dataclass
class Source:
    """
    The messages of one topic that look as if they came from one publisher.

    ROS does not tell which publisher sent a message, so that the content decides (`source_of`).

    :param newest: the last message.
    :param arrivals: arrival and header stamp of each message, ``(N, 2)`` [ns]; an arrival of 0
        was before the first simulated time.
    """

    newest: Any
    _: KW_ONLY
    arrivals: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class TopicObservation:
    """Endpoints of one topic during the check, and its messages by their source."""

    publishers: list[Endpoint] = field(default_factory=list)
    subscribers: list[Endpoint] = field(default_factory=list)
    _: KW_ONLY
    sources: dict[tuple[Any, ...], Source] = field(default_factory=dict)

    def add(self, message: Any, arrival: int) -> None:
        """Store a message that arrived at a time [ns]."""
        source = self.sources.setdefault(source_of(message), Source(message))
        source.newest = message
        source.arrivals.append((arrival, to_stamp(message)))


@dataclass
class RobotObservation:
    """
    Everything that the check observed of a robot.

    :param topics: topic name to observation.
    :param services: full names of the services.
    :param tree: transforms of ``tf``.
    :param now: end of the check on the robot's clock [ns]; 0: its simulated time never came.
    """

    topics: dict[str, TopicObservation]
    services: set[str]
    _: KW_ONLY
    tree: TransformTree
    now: int


@dataclass(frozen=True)
class Finding:
    """
    One deviation of the robot from its embodiment.

    :param severity: ``fault`` or ``warning``.
    :param subject: topic, frame, service or part of the robot.
    :param problem: what was expected, and what was observed.
    :param fix: what to do about it.
    """

    severity: str
    subject: str
    _: KW_ONLY
    problem: str
    fix: str


def source_of(message: Any) -> tuple[Any, ...]:
    """Return what tells the messages of one publisher from those of another."""
    frame = message.header.frame_id
    if hasattr(message, 'format'):
        return (frame, message.format)
    if hasattr(message, 'encoding'):
        return (frame, message.encoding, message.height, message.width, message.step)
    if hasattr(message, 'position'):
        is_finite = bool(np.isfinite(np.asarray(message.position, np.float64)).all())
        return (tuple(message.name), len(message.position), is_finite)
    return (frame,)


def streams(embodiment: Embodiment) -> list[Topic]:
    """Return the topics of the robot whose messages the suite reads."""
    command = embodiment.command
    found = [topics.camera_topic(camera) for camera in embodiment.cameras]
    if command.joints or embodiment.sees_joints:
        found.append(topics.JOINT_STATES)
    if (command.needs_pose or embodiment.sees_tool_pose) and command.pose_topic:
        found.append(topics.pose_topic(command))
    return found


def published(embodiment: Embodiment) -> list[Topic]:
    """Return all topics that a driver or a person publishes, with the QoS that is requested."""
    command = embodiment.command
    needs_pose = command.needs_pose or embodiment.sees_tool_pose
    reads_tf = needs_pose and not command.pose_topic
    return [*streams(embodiment), *OPERATED, *(TRANSFORMS if reads_tf else ())]


def examine(robot: RobotObservation, embodiment: Embodiment, max_skew_s: float) -> list[Finding]:
    """
    Return all findings, in the order in which to fix them.

    :param max_skew_s: largest allowed difference between stamps and the clock of this machine [s].
    """
    findings = [] if robot.now else [_no_time()]
    for topic in published(embodiment):
        findings += _connections(topic, robot.topics[topic.name])
    for camera in embodiment.cameras:
        findings += _camera(robot, embodiment, camera, max_skew_s)
    findings += _proprioception(robot, embodiment)
    command = embodiment.command
    if command.joints:
        findings += _joints(robot, embodiment, max_skew_s)
    if command.needs_pose or embodiment.sees_tool_pose:
        findings += _pose(robot, embodiment, max_skew_s)
    findings += _driver(robot, embodiment)
    return [*findings, *_services(robot, embodiment)]


def _no_time() -> Finding:
    return Finding(
        FAULT,
        '/clock',
        problem='expected simulated time, got none during the check',
        fix='start the simulator or the bridge of its clock, or leave out --use-sim-time',
    )


def _connections(topic: Topic, seen: TopicObservation) -> Iterator[Finding]:
    """Yield a finding for each publisher that DDS does not connect with the suite."""
    for publisher in seen.publishers:
        if publisher.type != topic.type:
            yield Finding(
                FAULT,
                topic.name,
                problem=f'type: expected {topic.type}, {publisher.node} has {publisher.type}',
                fix='publish that type; a topic that ends in /compressed is a CompressedImage',
            )
        elif publisher.mismatch:
            yield Finding(
                FAULT,
                topic.name,
                problem=(
                    f'quality of service: expected a publisher that DDS connects, {publisher.node}'
                    f' is refused: {publisher.mismatch}'
                ),
                fix=f'set it to {describe_qos(topic)}',
            )


def describe_qos(topic: Topic) -> str:
    """Return what a publisher must offer to the suite, in words."""
    if topic.qos == topics.SENSOR_DATA:
        return 'any reliability and durability, without a deadline policy'
    durability = 'transient local' if topic.qos == topics.LATCHED else 'any durability'
    return f'reliable and {durability}, without a deadline policy'


def _camera(
    robot: RobotObservation, e: Embodiment, camera: Camera, skew_s: float
) -> Iterator[Finding]:
    topic = topics.camera_topic(camera)
    seen = robot.topics[topic.name]
    sources = list(seen.sources.values())
    yield from _stream(topic, seen, sources, robot, e.control_rate_hz, skew_s)
    for source in sources:
        try:
            image = to_image(source.newest)
        except ValueError as error:
            yield Finding(FAULT, topic.name, problem=str(error), fix=_image_fix(source.newest))
            continue
        try:
            preprocess(image, camera, e.observation_size)
        except ValueError as error:
            yield Finding(
                FAULT,
                topic.name,
                problem=f'size: {error}',
                fix='set the camera to that size, or height, width and crop of the embodiment to '
                'the size of its images',
            )


def _proprioception(robot: RobotObservation, e: Embodiment) -> Iterator[Finding]:
    """Yield a finding for each part of the proprioception that no message has."""
    for part in e.proprioception:
        if part.source == TOOL_POSE:
            continue  # `_pose` examines it
        sources = robot.topics[topics.JOINT_STATES.name].sources.values()
        states = [to_measured_state(source.newest) for source in sources]
        problems = []
        for state in states:
            try:
                read_part(state, part)
            except ValueError as error:
                problems.append(str(error))
        if len(problems) == len(states):
            problem = problems[-1] if problems else f'{part.source}: expected a message, got none'
            yield Finding(
                FAULT,
                topics.JOINT_STATES.name,
                problem=f'proprioception: {problem}',
                fix='publish it, or correct proprioception in the embodiment',
            )


def _image_fix(message: Any) -> str:
    """Return what to do about an image that the policy cannot decode."""
    if hasattr(message, 'format'):
        return f'publish JPEG or PNG; the format says {message.format!r}, and video is not decoded'
    if message.encoding not in CHANNEL_ORDER:
        return 'set the encoding of the camera driver to rgb8'
    return 'correct the camera driver: step is the bytes of a row, data holds height rows'


def _joints(robot: RobotObservation, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    topic = topics.JOINT_STATES
    seen = robot.topics[topic.name]
    joints = e.command.joints
    taken: list[Source] = []
    refused: list[tuple[Source, str]] = []
    for source in seen.sources.values():
        try:
            to_positions_of(source.newest, joints)
        except ValueError as error:
            refused.append((source, str(error)))
        else:
            taken.append(source)
    yield from _stream(
        topic, seen, taken or list(seen.sources.values()), robot, e.control_rate_hz, skew_s
    )
    named = [problem for source, problem in refused if set(joints) <= set(source.newest.name)]
    for problem in named:
        yield Finding(
            WARNING if taken else FAULT,
            topic.name,
            problem=problem,
            fix='correct the driver that publishes it; the guard ignores such a message',
        )
    if refused and not taken and not named:
        yield _missing_joints(joints, [source.newest for source, _ in refused])
    if taken:
        newest = max(taken, key=lambda source: source.arrivals[-1][0]).newest
        yield from _joint_limits(to_positions_of(newest, joints), e)


def _missing_joints(joints: tuple[str, ...], messages: list[Any]) -> Finding:
    """Return the finding of a robot none of whose messages has all joints."""
    found = {name for message in messages for name in message.name}
    parts = ' and '.join(', '.join(message.name) for message in messages)
    missing = [joint for joint in joints if joint not in found]
    if missing:
        problem = f'joints: expected {", ".join(missing)}, got {parts}'
        fix = 'correct command.joints, or the prefix in the description of the robot'
    else:
        problem = f'joints: expected {", ".join(joints)} in one message, got them apart: {parts}'
        fix = 'merge them into one message, for example with joint_state_publisher'
    return Finding(FAULT, topics.JOINT_STATES.name, problem=problem, fix=fix)


def _joint_limits(positions: np.ndarray, e: Embodiment) -> Iterator[Finding]:
    limits = e.command.limits
    ends = zip(e.command.joints, positions, limits.position_min, limits.position_max, strict=False)
    for joint, position, low, high in ends:
        if not low <= position <= high:
            yield Finding(
                FAULT,
                topics.JOINT_STATES.name,
                problem=f'limit of {joint}: expected {low} to {high}, got {position:.4g}',
                fix='move the arm back by hand, or correct the limits',
            )


def _pose(robot: RobotObservation, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    command = e.command
    if command.pose_topic:
        yield from _pose_topic(robot, e, skew_s)
        return
    try:
        pose, stamp = robot.tree.pose(command.tool_frame, command.frame)
    except LookupError as error:
        fix = 'start robot_state_publisher, or correct command.frame and command.tool_frame'
        yield Finding(FAULT, 'tf', problem=str(error), fix=fix)
        return
    limit_s = max(skew_s, command.state_timeout_s)
    age_s = (robot.now - (stamp or 0)) / 1e9
    if stamp is None or (robot.now and abs(age_s) > limit_s):
        got = 'a constant one' if stamp is None else f'{age_s:.2f} s'
        yield Finding(
            FAULT,
            'tf',
            problem=(
                f'age of {command.tool_frame} in {command.frame}: '
                f'expected at most {limit_s} s, got {got}'
            ),
            fix='check that robot_state_publisher gets joint_states, and synchronise the clocks',
        )
    yield from _workspace('tf', pose, e)


def _pose_topic(robot: RobotObservation, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    """Yield the findings of a pose that a topic has; the guard reads each of its messages."""
    topic = topics.pose_topic(e.command)
    seen = robot.topics[topic.name]
    sources = list(seen.sources.values())
    yield from _stream(topic, seen, sources, robot, e.control_rate_hz, skew_s)
    poses = []
    problems = []
    for source in sources:
        try:
            poses.append(to_pose_in(source.newest, e.command.frame))
        except ValueError as error:
            problems.append(str(error))
    for problem in problems:
        yield Finding(
            WARNING if poses else FAULT,
            topic.name,
            problem=problem,
            fix='publish it in command.frame with a unit quaternion; the guard ignores others',
        )
    if poses:
        yield from _workspace(topic.name, poses[-1], e)


def _workspace(subject: str, pose: np.ndarray, e: Embodiment) -> Iterator[Finding]:
    low = e.command.limits.workspace_min
    high = e.command.limits.workspace_max
    if low and not (np.all(pose[:3] >= low) and np.all(pose[:3] <= high)):
        yield Finding(
            FAULT,
            subject,
            problem=(
                f'workspace: expected the tool in {low} to {high}, '
                f'got {np.round(pose[:3], 3).tolist()}'
            ),
            fix='move the arm into its workspace, or correct the limits of the workspace',
        )


def _driver(robot: RobotObservation, e: Embodiment) -> Iterator[Finding]:
    topic = topics.command_topic(e.command)
    seen = robot.topics[topic.name]
    if not seen.subscribers:
        fix = "start the robot's driver or controller, or correct command.topic"
        yield Finding(FAULT, topic.name, problem='expected a subscriber, got none', fix=fix)
    for listener in seen.subscribers:
        if listener.type != topic.type:
            yield Finding(
                FAULT,
                topic.name,
                problem=f'type: expected {topic.type}, {listener.node} subscribes {listener.type}',
                fix='choose a controller of this type, or correct command.topic',
            )
        elif listener.mismatch:
            yield Finding(
                FAULT,
                topic.name,
                problem=(
                    f'quality of service: expected a subscription that DDS connects, '
                    f'{listener.node} receives no command: {listener.mismatch}'
                ),
                fix='set its durability to volatile, without a deadline policy',
            )
    others = [p.node for p in seen.publishers if p.node.rsplit('/', 1)[-1] not in GUARDS]
    if others:
        yield Finding(
            FAULT,
            topic.name,
            problem=f'expected no publisher but the guard, got {", ".join(sorted(others))}',
            fix='stop teleoperation, MoveIt or other publishers while the suite drives the robot',
        )


def _services(robot: RobotObservation, e: Embodiment) -> Iterator[Finding]:
    action = e.command.gripper.action
    if action and not any(name.endswith(f'{action}/_action/send_goal') for name in robot.services):
        fix = "start the gripper's controller, or correct gripper.action"
        yield Finding(FAULT, GRIPPER, problem=f'expected the action {action}, got none', fix=fix)
    if not any(name.endswith(f'/{topics.RESET_WORLD}') for name in robot.services):
        yield Finding(
            WARNING,
            topics.RESET_WORLD,
            problem='expected a service that resets the scene, got none',
            fix='start it before the first episode; without it no episode starts',
        )
    if not robot.topics[topics.ESTOP.name].publishers:
        yield Finding(
            WARNING,
            topics.ESTOP.name,
            problem='expected a publisher of the emergency stop, got none',
            fix='connect a switch that publishes std_msgs/Bool; keep the one that cuts the power',
        )


def _stream(
    topic: Topic,
    seen: TopicObservation,
    sources: list[Source],
    robot: RobotObservation,
    rate_hz: float,
    max_skew_s: float,
) -> Iterator[Finding]:
    """Yield the findings of a periodic topic: publishers, rate and stamps of its sources."""
    connected = [p for p in seen.publishers if p.type == topic.type and not p.mismatch]
    if not seen.publishers:
        fix = 'start its driver, or correct the name; names are relative to the namespace'
        yield Finding(FAULT, topic.name, problem='expected a publisher, got none', fix=fix)
    if not connected:
        return
    arrivals = sorted(
        pair for source in sources for pair in source.arrivals if pair[0] or not robot.now
    )
    if len(arrivals) < 2:
        yield Finding(
            FAULT,
            topic.name,
            problem=f'expected messages, got {len(arrivals)} during the check',
            fix='read the log of its driver; large images may need a larger socket buffer',
        )
    elif robot.now:
        yield from _timing(topic.name, np.array(arrivals, np.int64), rate_hz, max_skew_s)


def _timing(name: str, times: np.ndarray, rate_hz: float, max_skew_s: float) -> Iterator[Finding]:
    arrived, stamps = times.T
    rate = 1e9 * (len(arrived) - 1) / max(arrived[-1] - arrived[0], 1)
    if rate < 0.9 * rate_hz:
        yield Finding(
            FAULT,
            name,
            problem=f'rate: expected {rate_hz:.4g} Hz or more, got {rate:.3g} Hz',
            fix='raise its rate, or lower control_rate_hz of the embodiment',
        )
    if (np.diff(stamps) <= 0).any():
        yield Finding(
            FAULT,
            name,
            problem='stamps: expected each later than the previous one, got one that is not',
            fix=(
                'stamp each message once, at the time of measurement; '
                'check that only one node publishes it'
            ),
        )
    skew_s = float(np.median(arrived - stamps)) / 1e9
    if abs(skew_s) > max_skew_s:
        is_simulated = abs(skew_s) > DAY_S
        yield Finding(
            FAULT,
            name,
            problem=f'stamps: expected at most {max_skew_s} s from this clock, got {skew_s:.3f} s',
            fix='check with --use-sim-time, if the robot runs on simulated time; else stamp with '
            'the system clock'
            if is_simulated
            else 'synchronise the clocks (chrony, PTP), and take stamps from the system clock',
        )
