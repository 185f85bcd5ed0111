"""
Conversions from messages to arrays, times and dataclasses: ``to_*``.

They accept any object with the fields of the message, so live messages of rclpy and messages from
a bag take the same path. The inverse is ``ros_messages.py``.
"""

from __future__ import annotations

import json
from typing import Any

from efm_core.episode import EpisodeGoal
from efm_core.executed import due_stamps
from efm_core.images import decode_image
from efm_core.observation import MeasuredState
import numpy as np

CHANNEL_ORDER = {'rgb8': (0, 1, 2), 'bgr8': (2, 1, 0), 'rgba8': (0, 1, 2), 'bgra8': (2, 1, 0)}


def to_ns(stamp: Any) -> int:
    """Return a ``builtin_interfaces/Time`` as nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def to_stamp(message: Any) -> int:
    """Return the stamp of the header [ns]; it identifies the observation."""
    return to_ns(message.header.stamp)


def to_goal(message: Any) -> EpisodeGoal:
    """Return the goal in a request of ``RunEpisode`` or in an ``EpisodeEvent``."""
    return EpisodeGoal(
        message.episode_id,
        message.index,
        kind=message.kind,
        instruction=message.instruction,
        seed=message.seed,
        max_steps=message.max_steps,
        policy_version=message.policy_version,
    )


def to_fields(message: Any) -> dict[str, Any]:
    """Return the fields of a live message of rclpy, without its header."""
    names = message.get_fields_and_field_types()
    return {name: getattr(message, name) for name in names if name != 'header'}


def to_image(message: Any) -> np.ndarray:
    """
    Return a ``sensor_msgs/Image`` or ``CompressedImage`` as ``(H, W, 3)`` uint8 RGB.

    :raises ValueError: on an encoding without colour, or data of the wrong length.
    """
    if hasattr(message, 'format'):
        return decode_image(bytes(message.data))
    if message.encoding not in CHANNEL_ORDER:
        raise ValueError(
            f'image: expected encoding {", ".join(CHANNEL_ORDER)}, got {message.encoding!r}'
        )
    channels = 4 if 'a' in message.encoding else 3
    rows = np.frombuffer(message.data, np.uint8)
    if rows.size != message.height * message.step or message.step < message.width * channels:
        raise ValueError(
            f'image: expected {message.height} x {message.step} bytes for rows of '
            f'{message.width} px, got {rows.size}'
        )
    rows = rows.reshape(message.height, message.step)[:, : message.width * channels]
    pixels = rows.reshape(message.height, message.width, channels)
    return np.ascontiguousarray(pixels[..., CHANNEL_ORDER[message.encoding]])


def to_chunk_steps(message: Any) -> int:
    """
    Return the number of control steps of an ``Action``; older bags have no such field: 1.

    A step has a token or a value. So a malformed number of billions costs no more than the data.
    """
    steps: int = getattr(message, 'chunk_steps', 1)
    return max(1, min(steps, max(len(message.tokens), len(message.values))))


def to_period(message: Any) -> int:
    """Return the time between two chunk steps of an ``Action`` [ns]; 0 for a single action."""
    return to_ns(message.period) if to_chunk_steps(message) > 1 else 0


def to_due_stamps(message: Any) -> tuple[int, ...]:
    """Return when each control step of an ``Action`` is due [ns]."""
    return due_stamps(to_stamp(message), to_chunk_steps(message), to_period(message))


def to_tokens(message: Any) -> np.ndarray:
    """Return the tokens of an ``Action``, ``(K,)`` int64."""
    return np.asarray(message.tokens, np.int64)


def to_values(message: Any) -> np.ndarray:
    """
    Return the decoded values of an ``Action``, ``(A,)`` float32, units of the embodiment.

    Of a chunk: its chunk steps, ``(H, A)``.

    :raises ValueError: when the values do not divide into equal chunk steps.
    """
    values = np.asarray(message.values, np.float32)
    steps = to_chunk_steps(message)
    if steps == 1:
        return values
    if len(values) % steps:
        raise ValueError(f'action: expected {steps} equal chunk steps, got {len(values)} values')
    return values.reshape(steps, -1)


def to_probabilities(message: Any) -> np.ndarray:
    """Return the distribution of a ``StepsToGo``, ``(bins,)`` float32."""
    return np.asarray(message.probabilities, np.float32)


def to_positions(message: Any) -> dict[str, np.ndarray]:
    """Return a ``WorldState`` as ``{name: (3,) float64 position [m]}``, in its own order."""
    pairs = zip(message.names, message.positions, strict=True)
    return {name: np.array([p.x, p.y, p.z]) for name, p in pairs}


def to_info(message: Any) -> dict[str, Any]:
    """
    Return the info of a Gymnasium environment in a ``WorldState``.

    :raises ValueError: when it is not JSON.
    """
    return dict(json.loads(message.info)) if message.info else {}


def to_displacement(message: Any, rate_hz: float) -> np.ndarray:
    """Return a planar ``TwistStamped`` as displacement per control step, ``(2,)`` float32 [m]."""
    velocity = np.array([message.twist.linear.x, message.twist.linear.y], np.float32)
    displacement: np.ndarray = velocity / np.float32(rate_hz)
    return displacement


def to_positions_of(message: Any, joints: tuple[str, ...]) -> np.ndarray:
    """
    Return the positions of ``joints`` from a ``JointState``, ``(J,)`` float64 [rad or m].

    :raises ValueError: when a joint is missing or a position is not finite.
    """
    found = dict(zip(message.name, message.position, strict=False))
    missing = [name for name in joints if name not in found]
    if missing and not set(joints) - set(message.name):
        raise ValueError(
            f'joint_states: expected a position of each joint, got {len(message.position)} for '
            f'{", ".join(message.name)}'
        )
    if missing:
        raise ValueError(
            f'joint_states: expected {", ".join(joints)}, got no {", ".join(missing)} '
            f'among {", ".join(message.name)}'
        )
    positions = np.array([found[name] for name in joints], np.float64)
    if not np.isfinite(positions).all():
        raise ValueError(f'joint_states: expected finite positions, got {positions}')
    return positions


def to_proprioception(message: Any, names: tuple[str, ...]) -> np.ndarray:
    """
    Return the proprioception of an observation, ``(P,)`` float32.

    :raises ValueError: when the message has other names.
    """
    found = tuple(message.name)
    if found != names:
        raise ValueError(f'proprioception: expected {names}, got {found}')
    return np.array(message.position, np.float32)


def to_measured_state(message: Any) -> MeasuredState:
    """Return a ``JointState``; a quantity of which it has not one number a joint is unknown."""
    names = tuple(message.name)
    positions, velocities = (
        np.array(values, np.float64) if len(values) == len(names) else np.zeros(0)
        for values in (message.position, message.velocity)
    )
    return MeasuredState(names, positions, velocities=velocities)


def to_twist(message: Any, scale: tuple[float, ...] = ()) -> np.ndarray:
    """
    Return a ``TwistStamped`` as ``(6,)`` float64 [m/s, rad/s].

    :param scale: value of 1, linear [m/s] and angular [rad/s], for drivers with unitless commands.
    """
    linear = message.twist.linear
    angular = message.twist.angular
    numbers = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
    scaled: np.ndarray = numbers * np.repeat(scale or (1.0, 1.0), 3)
    return scaled


def to_pose(message: Any) -> np.ndarray:
    """
    Return a ``Pose`` or a ``Transform`` as ``(7,)`` float64: x, y, z [m], quaternion x, y, z, w.

    :raises ValueError: when a number is not finite, or the quaternion is not of length 1.
    """
    place = message.position if hasattr(message, 'position') else message.translation
    turn = message.orientation if hasattr(message, 'orientation') else message.rotation
    pose = np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w])
    length = np.linalg.norm(pose[3:])
    if not np.isfinite(pose).all() or abs(length - 1) > 1e-2:
        raise ValueError(f'pose: expected finite numbers and a unit quaternion, got {pose}')
    pose[3:] /= length
    return pose


def to_pose_in(message: Any, frame: str) -> np.ndarray:
    """
    Return the pose of a ``PoseStamped`` that must be given in ``frame``, as ``to_pose``.

    :raises ValueError: when it is given in another frame, or as ``to_pose``.
    """
    found = message.header.frame_id.lstrip('/')
    wanted = frame.lstrip('/')
    if found != wanted:
        raise ValueError(f'pose: expected frame {wanted}, got {found!r}')
    return to_pose(message.pose)
