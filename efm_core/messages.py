"""
From messages to arrays, the same for live messages and for bags.

Works on anything that has a message's fields, so that rclpy's classes and those of a bag reader
go through one code.
"""

from __future__ import annotations

from typing import Any

from efm_core.observation import decode_image
import numpy as np

CHANNEL_ORDER = {'rgb8': (0, 1, 2), 'bgr8': (2, 1, 0), 'rgba8': (0, 1, 2), 'bgra8': (2, 1, 0)}


def to_ns(stamp: Any) -> int:
    """Return a ``builtin_interfaces/Time`` as nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_stamp(message: Any) -> int:
    """Return the header's stamp [ns]: the observation that caused the message."""
    return to_ns(message.header.stamp)


def to_image(message: Any) -> np.ndarray:
    """
    Return a ``sensor_msgs/Image`` or ``CompressedImage`` as ``(H, W, 3)`` uint8 RGB.

    :raises ValueError: on an encoding that is not colour, or data of the wrong length.
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
    """Return how many control steps an ``Action`` is for; older bags know only one."""
    return max(1, getattr(message, 'chunk_steps', 1))


def to_period(message: Any) -> int:
    """Return the time from one row of an ``Action`` to the next [ns]; 0 for a single one."""
    return to_ns(message.period) if to_chunk_steps(message) > 1 else 0


def to_tokens(message: Any) -> np.ndarray:
    """Return the tokens of an ``Action``, ``(K,)`` int64."""
    return np.asarray(message.tokens, np.int64)


def to_values(message: Any) -> np.ndarray:
    """
    Return the decoded values of an ``Action``, ``(A,)`` float32, units of the embodiment.

    Of a chunk: its rows, ``(H, A)``.

    :raises ValueError: when the rows are not of one length.
    """
    values = np.asarray(message.values, np.float32)
    rows = to_chunk_steps(message)
    if rows == 1:
        return values
    if len(values) % rows:
        raise ValueError(f'action: expected {rows} equal rows, got {len(values)} values')
    return values.reshape(rows, -1)


def to_probabilities(message: Any) -> np.ndarray:
    """Return the distribution of a ``StepsToGo``, ``(bins,)`` float32."""
    return np.asarray(message.probabilities, np.float32)


def to_positions(message: Any) -> dict[str, np.ndarray]:
    """Return a ``WorldState`` as name to ``(3,)`` float64 position [m], in the message's order."""
    pairs = zip(message.names, message.positions, strict=True)
    return {name: np.array([p.x, p.y, p.z]) for name, p in pairs}


def to_displacement(message: Any, rate_hz: float) -> np.ndarray:
    """Return a planar ``TwistStamped`` as displacement per control step, ``(2,)`` float32 [m]."""
    return np.array([message.twist.linear.x, message.twist.linear.y], np.float32) / np.float32(
        rate_hz
    )


def to_positions_of(message: Any, joints: tuple[str, ...]) -> np.ndarray:
    """
    Return the positions of some joints of a ``JointState``, ``(J,)`` float64 [rad or m].

    :raises ValueError: when one is missing or not finite.
    """
    found = dict(zip(message.name, message.position, strict=False))
    missing = [name for name in joints if name not in found]
    if missing:
        raise ValueError(
            f'joint_states: expected {", ".join(joints)}, got no {", ".join(missing)} '
            f'among {", ".join(message.name)}'
        )
    positions = np.array([found[name] for name in joints], np.float64)
    if not np.isfinite(positions).all():
        raise ValueError(f'joint_states: expected finite positions, got {positions}')
    return positions


def to_twist(message: Any, scale: tuple[float, ...] = ()) -> np.ndarray:
    """
    Return a ``TwistStamped`` as ``(6,)`` float64 [m/s, rad/s].

    :param scale: what 1 stands for, linear and angular, where the driver takes unitless commands.
    """
    linear = message.twist.linear
    angular = message.twist.angular
    numbers = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
    return numbers * np.repeat(scale or (1.0, 1.0), 3)


def to_pose(message: Any) -> np.ndarray:
    """
    Return a ``Pose`` or a ``Transform`` as ``(7,)`` float64: x, y, z [m], quaternion x, y, z, w.

    :raises ValueError: when the quaternion is not of length 1, or a number not finite.
    """
    place = message.position if hasattr(message, 'position') else message.translation
    turn = message.orientation if hasattr(message, 'orientation') else message.rotation
    pose = np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w])
    length = np.linalg.norm(pose[3:])
    if not np.isfinite(pose).all() or abs(length - 1) > 1e-2:
        raise ValueError(f'pose: expected finite numbers and a unit quaternion, got {pose}')
    pose[3:] /= length
    return pose
