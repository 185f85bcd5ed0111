"""What is wrong with a running robot, judged by its embodiment: from what was seen to findings."""

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
OURS = ('guard', 'guard_node')


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscription that somebody else has."""

    node: str
    type: str
    _: KW_ONLY
    reliable: bool = True
    latched: bool = False


@dataclass
class Seen:
    """
    What was seen on one topic.

    :param arrivals: arrival and header stamp of each message, ``(N, 2)`` [ns].
    :param newest: the last message.
    """

    publishers: list[Endpoint] = field(default_factory=list)
    subscribers: list[Endpoint] = field(default_factory=list)
    _: KW_ONLY
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    newest: Any = None


@dataclass
class Robot:
    """All that was seen of a robot; ``now`` is when the looking ended [ns]."""

    seen: dict[str, Seen]
    services: set[str]
    _: KW_ONLY
    tree: TransformTree
    now: int


@dataclass(frozen=True)
class Finding:
    """
    One thing that is not as it must be.

    :param severity: ``fault`` or ``warning``.
    :param mend: what to do about it.
    """

    severity: str
    subject: str
    _: KW_ONLY
    problem: str
    mend: str


def examine(robot: Robot, embodiment: Embodiment, max_skew_s: float) -> list[Finding]:
    """Return everything that is wrong, in the order in which it should be mended."""
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


def _camera(robot: Robot, camera: Camera, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    compressed = camera.topic.endswith('compressed')
    kind = f'sensor_msgs/msg/{"CompressedImage" if compressed else "Image"}'
    seen = robot.seen[camera.topic]
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
            mend=(
                'set the camera to that size, '
                'or height, width and crop of the embodiment to this one'
            ),
        )
    if seen.newest.encoding not in CHANNEL_ORDER:
        yield Finding(
            FAULT,
            camera.topic,
            problem=f'encoding: expected {", ".join(CHANNEL_ORDER)}, got {seen.newest.encoding!r}',
            mend='set the encoding of the camera driver to rgb8',
        )


def _joints(robot: Robot, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    name = topics.JOINT_STATES.name
    command = e.command
    seen = robot.seen[name]
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
            mend='correct command.joints, or the prefix in the description of the robot',
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
                mend='move the arm back by hand; if it is right there, correct the limits',
            )


def _pose(robot: Robot, e: Embodiment, skew_s: float) -> Iterator[Finding]:
    command = e.command
    if command.pose_topic:
        kind = 'geometry_msgs/msg/PoseStamped'
        yield from _stream(
            command.pose_topic, kind, robot.seen[command.pose_topic], e.control_rate_hz, skew_s
        )
        return
    try:
        pose, stamp = robot.tree.pose(command.tool_frame, command.frame)
    except LookupError as error:
        mend = 'start robot_state_publisher, or correct command.frame and command.tool_frame'
        yield Finding(FAULT, 'tf', problem=str(error), mend=mend)
        return
    limit_s = max(skew_s, command.state_timeout_s)
    age_s = (robot.now - (stamp or 0)) / 1e9
    if stamp is None or abs(age_s) > limit_s:
        got = 'none that changes' if stamp is None else f'{age_s:.2f} s'
        yield Finding(
            FAULT,
            'tf',
            problem=(
                f'age of {command.tool_frame} in {command.frame}: '
                f'expected {limit_s} s at most, got {got}'
            ),
            mend='see that joint_states reach robot_state_publisher, and that clocks agree',
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
            mend='move the arm into its workspace; if it is right there, correct the box',
        )


def _driver(robot: Robot, e: Embodiment) -> Iterator[Finding]:
    topic = topics.command_topic(e.command)
    seen = robot.seen[topic.name]
    if not seen.subscribers:
        mend = "start the robot's driver or controller, or correct command.topic"
        yield Finding(
            FAULT, topic.name, problem='expected a driver that listens, got none', mend=mend
        )
    for listener in seen.subscribers:
        if listener.type != topic.type:
            yield Finding(
                FAULT,
                topic.name,
                problem=f'type: expected {topic.type}, {listener.node} takes {listener.type}',
                mend='choose the controller that the driver has, or another topic',
            )
        if listener.latched:
            yield Finding(
                FAULT,
                topic.name,
                problem=(
                    f'quality of service: {listener.node} asks for transient local, '
                    'which commands are not: it will hear nothing'
                ),
                mend='make its subscription volatile',
            )
    others = [p.node for p in seen.publishers if p.node.rsplit('/', 1)[-1] not in OURS]
    if others:
        yield Finding(
            FAULT,
            topic.name,
            problem=f'expected nobody else to command the robot, got {", ".join(sorted(others))}',
            mend='end teleoperation, MoveIt or whatever this is while the suite drives the robot',
        )


def _services(robot: Robot, e: Embodiment) -> Iterator[Finding]:
    action = e.command.gripper.action
    if action and not any(name.endswith(f'{action}/_action/send_goal') for name in robot.services):
        mend = "start the gripper's controller, or correct gripper.action"
        yield Finding(FAULT, GRIPPER, problem=f'expected the action {action}, got none', mend=mend)
    if not any(name.endswith(f'/{topics.RESET_WORLD}') for name in robot.services):
        yield Finding(
            WARNING,
            topics.RESET_WORLD,
            problem='expected a service that resets the scene, got none',
            mend='start yours before an episode; without it none begins',
        )
    if not robot.seen[topics.ESTOP.name].publishers:
        yield Finding(
            WARNING,
            topics.ESTOP.name,
            problem='expected a publisher of the emergency stop, got none',
            mend=(
                'connect a switch that publishes std_msgs/Bool, beside the one that cuts the power'
            ),
        )


def _stream(
    name: str, kind: str, seen: Seen, rate_hz: float, max_skew_s: float
) -> Iterator[Finding]:
    """Yield what is wrong with a topic that must flow: who, type, rate, stamps."""
    if not seen.publishers:
        mend = 'start its driver, or correct the name; names are relative to the namespace'
        yield Finding(FAULT, name, problem='expected a publisher, got none', mend=mend)
        return
    wrong = sorted({p.type for p in seen.publishers if p.type != kind})
    if wrong:
        mend = 'publish that type; a topic that ends in /compressed is a CompressedImage'
        yield Finding(
            FAULT, name, problem=f'type: expected {kind}, got {", ".join(wrong)}', mend=mend
        )
        return
    if len(seen.arrivals) < 2:
        mend = 'see whether its driver says why; large pictures may need a larger socket buffer'
        yield Finding(
            FAULT,
            name,
            problem=f'expected messages, got {len(seen.arrivals)} while looking',
            mend=mend,
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
            mend='make it faster, or control_rate_hz of the embodiment smaller',
        )
    if (np.diff(stamps) <= 0).any():
        yield Finding(
            FAULT,
            name,
            problem='stamps: expected each later than the one before, got one that is not',
            mend=(
                'stamp each message once, when it was measured; '
                'see that only one node publishes it'
            ),
        )
    skew_s = float(np.median(arrived - stamps)) / 1e9
    if abs(skew_s) > max_skew_s:
        yield Finding(
            FAULT,
            name,
            problem=f'stamps: expected {max_skew_s} s off this clock at most, got {skew_s:.3f} s',
            mend=(
                'synchronise the clocks (chrony, PTP), and stamp by the same clock as this machine'
            ),
        )
