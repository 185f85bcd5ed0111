"""From arrays to messages: the inverse of messages.py."""

from __future__ import annotations

from array import array
from typing import Any

from builtin_interfaces.msg import Duration, Time
from efm_core.observation import encode_png
from efm_interfaces.msg import Action, EpisodeEvent, EpisodeOutcome, StepsToGo, WorldState
from geometry_msgs.msg import Point, TransformStamped, TwistStamped
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState


def from_ns(nanoseconds: int) -> Time:
    """Return nanoseconds as a ``builtin_interfaces/Time``."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def from_period(nanoseconds: int) -> Duration:
    """Return nanoseconds as a ``builtin_interfaces/Duration``."""
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def stamped(message: Any, stamp: int, frame: str = '') -> Any:
    """Return ``message`` with its header filled; ``stamp`` in nanoseconds."""
    message.header.stamp = from_ns(stamp)
    message.header.frame_id = frame
    return message


def from_image(image: np.ndarray, stamp: int, frame: str = '') -> Image:
    """Return ``(H, W, 3)`` uint8 RGB as an ``Image``."""
    height, width = image.shape[:2]
    return stamped(
        Image(
            height=height,
            width=width,
            encoding='rgb8',
            step=3 * width,
            data=array('B', image.tobytes()),
        ),
        stamp,
        frame,
    )


def from_observation(observation: np.ndarray, stamp: int) -> CompressedImage:
    """Return ``(H, W, 3)`` uint8 RGB as a lossless ``CompressedImage``."""
    return stamped(
        CompressedImage(format='rgb8; png compressed', data=array('B', encode_png(observation))),
        stamp,
    )


def from_joints(names: tuple[str, ...], positions: np.ndarray, stamp: int) -> JointState:
    """Return joint positions [rad] as a ``JointState``."""
    return stamped(JointState(name=list(names), position=positions.tolist()), stamp)


def from_action(
    tokens: np.ndarray, values: np.ndarray, log_probability: float, stamp: int, **fields: Any
) -> Action:
    """
    Return an ``Action``.

    :param tokens: ``(K,)`` integers.
    :param values: ``(A,)`` float32; of a chunk ``(H, A)``, with its ``period`` as a field.
    """
    return stamped(
        Action(
            chunk_steps=len(values) if np.ndim(values) == 2 else 1,
            tokens=array('i', np.asarray(tokens, np.int32).tobytes()),
            values=array('f', np.asarray(values, np.float32).tobytes()),
            log_probability=float(log_probability),
            **fields,
        ),
        stamp,
    )


def from_steps_to_go(
    probabilities: np.ndarray, steps_to_go: float, success: bool, stamp: int, **fields: Any
) -> StepsToGo:
    """Return a ``StepsToGo``; ``probabilities`` ``(bins,)`` float32, ``steps_to_go`` in steps."""
    return stamped(
        StepsToGo(
            probabilities=array('f', np.asarray(probabilities, np.float32).tobytes()),
            steps_to_go=float(steps_to_go),
            success=bool(success),
            **fields,
        ),
        stamp,
    )


def from_displacement(values: np.ndarray, rate_hz: float, stamp: int, frame: str) -> TwistStamped:
    """Return a displacement per control step, ``(2,)`` [m], as the velocity that makes it."""
    message = stamped(TwistStamped(), stamp, frame)
    velocity = np.asarray(values, np.float64) * rate_hz
    message.twist.linear.x = float(velocity[0])
    message.twist.linear.y = float(velocity[1])
    return message


def from_world(
    positions: dict[str, np.ndarray], success: bool, distance: float, stamp: int
) -> WorldState:
    """Return simulator truth; ``positions`` [m]: tool, source, target, then the others."""
    points = [Point(x=float(p[0]), y=float(p[1]), z=float(p[2])) for p in positions.values()]
    return stamped(
        WorldState(
            success=bool(success),
            distance=float(distance),
            names=list(positions),
            positions=points,
        ),
        stamp,
    )


def from_camera_info(
    matrix: np.ndarray, *, height: int, width: int, stamp: int, frame: str
) -> CameraInfo:
    """
    Return the ``CameraInfo`` of a pinhole camera without distortion.

    :param matrix: ``(3, 3)`` camera matrix [px].
    """
    projection = np.hstack([matrix, np.zeros((3, 1))])
    message = CameraInfo(
        height=height,
        width=width,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=matrix.ravel(),
        r=np.eye(3).ravel(),
        p=projection.ravel(),
    )
    return stamped(message, stamp, frame)


def from_transform(pose: np.ndarray, stamp: int, *, frame: str, child: str) -> TransformStamped:
    """
    Return the pose of the frame ``child`` in ``frame``.

    :param pose: ``(7,)``: x, y, z [m], quaternion x, y, z, w.
    """
    message = stamped(TransformStamped(child_frame_id=child), stamp, frame)
    place = message.transform.translation
    turn = message.transform.rotation
    place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w = pose.tolist()
    return message


def from_outcome(event: EpisodeEvent, stamp: int, **fields: Any) -> EpisodeOutcome:
    """Return the outcome of the episode that ``event`` started."""
    return stamped(
        EpisodeOutcome(
            episode_id=event.episode_id,
            index=event.index,
            kind=event.kind,
            instruction=event.instruction,
            **fields,
        ),
        stamp,
    )
