"""The check of a running robot against its embodiment: from observed topics to findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, KW_ONLY
from typing import Any

from efm_core import topics
from efm_core.command import GRIPPER
from efm_core.embodiment import Camera, Embodiment
from efm_core.messages import CHANNEL_ORDER
from efm_core.poses import TransformTree
import numpy as np

FAULT = 'fault'
WARNING = 'warning'
GUARDS = (
    'guard',
    'guard_node',
    'guard_watch',
    'guard_watch_node',
)  # nodes that may publish commands


@dataclass(frozen=True)
class Endpoint:
    """
    A publisher or subscription of another node.

    :param node: namespace and name.
    :param type: message type.
    :param latched: durability transient local.
    """

    node: str
    type: str
    _: KW_ONLY
    reliable: bool = True
    latched: bool = False


@dataclass
class TopicObservation:
    """
    Endpoints and messages of one topic during the check.

    :param arrivals: arrival and header stamp of each message, ``(N, 2)`` [ns].
    :param newest: the last message; None without any.
    """

    publishers: list[Endpoint] = field(default_factory=list)
    subscribers: list[Endpoint] = field(default_factory=list)
    _: KW_ONLY
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    newest: Any = None


@dataclass
class RobotObservation:
    """
    Everything that the check observed of a robot.

    :param topics: topic name to observation.
    :param services: full names of the services.
    :param tree: transforms of ``tf``.
    :param now: end of the check [ns].
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


def examine(robot: RobotObservation, embodiment: Embodiment, max_skew_s: float) -> list[Finding]:
    """
    Return all findings, in the order in which to fix them.

    :param max_skew_s: largest allowed difference between stamps and the clock of this machine [s].
    """
    findings: list[Finding] = []
    for camera in embodiment.cameras:
        findings += _camera(robot, camera, embodiment, max_skew_s)
    command = embodiment.command
    if command.joints:
        findings += _joints(robot, embodiment, max_skew_s)
    if command.needs_pose:
        findings += _pose(robot, embodiment, max_skew_s)
    findings += _driver(robot, embodiment)
    return [*findings, *_services(robot, embodiment)]


def _camera(
    robot: RobotObservation, camera: Camera, e: Embodiment, skew_s: float
) -> Iterator[Finding]:
    compressed = camera.topic.endswith('compressed')
    kind = f'sensor_msgs/msg/{"CompressedImage" if compressed else "Image"}'
    seen = robot.topics[camera.topic]
    yield from _stream(camera.topic, kind, seen, e.control_rate_hz, skew_s)
    if seen.newest is None or compressed:
        return
    size = (seen.newest.height, seen.newest.width)
    if size != (camera.height, camera.width):
        yield Finding(
            FAULT,
            camera.topic,
            problem=(
                f'size: expected {camera.height} x {camera.width} px, got {size[0]} x {size[1]}'
            ),
            fix=(
                'set the camera to that size, '
                'or height, width and crop of the embodiment to this size'
            ),
        )
    if seen.newest.encoding not in CHANNEL_ORDER:
        yield Finding(
            FAULT,
            camera.topic,
            problem=f'encoding: expected {", ".join(CHANNEL_ORDER)}, got {seen.newest.encoding!r}',
            fix='set the encoding of the camera driver to rgb8',
        )


def _joints(robot: RobotObservation, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    name = topics.JOINT_STATES.name
    command = e.command
    seen = robot.topics[name]
    yield from _stream(name, topics.JOINT_STATES.type, seen, e.control_rate_hz, skew_s)
    if seen.newest is None:
        return
    found = dict(zip(seen.newest.name, seen.newest.position, strict=False))
    missing = [joint for joint in command.joints if joint not in found]
    if missing:
        yield Finding(
            FAULT,
            name,
            problem=f'joints: expected {", ".join(missing)}, got {", ".join(seen.newest.name)}',
            fix='correct command.joints, or the prefix in the description of the robot',
        )
        return
    limits = command.limits
    ends = zip(command.joints, limits.position_min, limits.position_max, strict=False)
    for joint, low, high in ends:
        if not low <= found[joint] <= high:
            yield Finding(
                FAULT,
                name,
                problem=f'limit of {joint}: expected {low} to {high}, got {found[joint]:.4g}',
                fix='move the arm back by hand, or correct the limits',
            )


def _pose(robot: RobotObservation, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    command = e.command
    if command.pose_topic:
        kind = 'geometry_msgs/msg/PoseStamped'
        yield from _stream(
            command.pose_topic, kind, robot.topics[command.pose_topic], e.control_rate_hz, skew_s
        )
        return
    try:
        pose, stamp = robot.tree.pose(command.tool_frame, command.frame)
    except LookupError as error:
        fix = 'start robot_state_publisher, or correct command.frame and command.tool_frame'
        yield Finding(FAULT, 'tf', problem=str(error), fix=fix)
        return
    limit_s = max(skew_s, command.state_timeout_s)
    age_s = (robot.now - (stamp or 0)) / 1e9
    if stamp is None or abs(age_s) > limit_s:
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
    low = command.limits.workspace_min
    high = command.limits.workspace_max
    if low and not (np.all(pose[:3] >= low) and np.all(pose[:3] <= high)):
        yield Finding(
            FAULT,
            'tf',
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
        if listener.latched:
            yield Finding(
                FAULT,
                topic.name,
                problem=(
                    f'quality of service: expected a volatile subscription, {listener.node} asks '
                    'for transient local and receives no command'
                ),
                fix='set its durability to volatile',
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
    name: str, kind: str, seen: TopicObservation, rate_hz: float, max_skew_s: float
) -> Iterator[Finding]:
    """Yield the findings of a periodic topic: publishers, type, rate and stamps."""
    if not seen.publishers:
        fix = 'start its driver, or correct the name; names are relative to the namespace'
        yield Finding(FAULT, name, problem='expected a publisher, got none', fix=fix)
        return
    wrong = sorted({p.type for p in seen.publishers if p.type != kind})
    if wrong:
        fix = 'publish that type; a topic that ends in /compressed is a CompressedImage'
        yield Finding(
            FAULT, name, problem=f'type: expected {kind}, got {", ".join(wrong)}', fix=fix
        )
        return
    if len(seen.arrivals) < 2:
        fix = 'read the log of its driver; large images may need a larger socket buffer'
        yield Finding(
            FAULT,
            name,
            problem=f'expected messages, got {len(seen.arrivals)} during the check',
            fix=fix,
        )
        return
    yield from _timing(name, np.array(seen.arrivals, np.int64), rate_hz, max_skew_s)


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
        yield Finding(
            FAULT,
            name,
            problem=f'stamps: expected at most {max_skew_s} s from this clock, got {skew_s:.3f} s',
            fix=('synchronise the clocks (chrony, PTP), and take stamps from the system clock'),
        )
