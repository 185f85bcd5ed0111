"""Conversions from arrays, times and dataclasses to messages: ``from_*``, and `stamped`."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
import json
from typing import Any, Protocol, TypeVar

from builtin_interfaces.msg import Duration, Time
from efm_core.episode import EpisodeEnding, EpisodeGoal
from efm_core.images import encode_png
from efm_core.observation import MeasuredState
from efm_interfaces.action import RunEpisode
from efm_interfaces.msg import (
    Action,
    EpisodeEvent,
    EpisodeOutcome,
    Permit,
    PolicyRelease,
    Recording,
    StepsToGo,
    WorldState,
)
from geometry_msgs.msg import Point, TransformStamped, TwistStamped
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState

MessageType = TypeVar('MessageType')


class ReleaseFields(Protocol):
    """The fields of ``PolicyRelease.msg``; ``efm_release.release.Release`` has them."""

    @property
    def version(self) -> int: ...

    @property
    def stage(self) -> str: ...

    @property
    def uri(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def embodiment_hash(self) -> str: ...


def from_ns(nanoseconds: int) -> Time:
    """Return nanoseconds as a ``builtin_interfaces/Time``."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def from_period(nanoseconds: int) -> Duration:
    """Return nanoseconds as a ``builtin_interfaces/Duration``."""
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def stamped(message: MessageType, stamp: int, frame: str = '') -> MessageType:
    """Return ``message`` with its header filled; ``stamp`` in nanoseconds."""
    header = message.header  # type: ignore[attr-defined]  # no type says: has a header
    header.stamp = from_ns(stamp)
    header.frame_id = frame
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
    """
    Return ``(H, W, 3)`` uint8 RGB as a lossless ``CompressedImage``.

    The format is that of ``compressed_image_transport``: the encoding of the image, and the order
    in which OpenCV has encoded it. Without that order, subscribers exchange red and blue.
    """
    data = array('B', encode_png(observation))
    return stamped(CompressedImage(format='rgb8; png compressed bgr8', data=data), stamp)


def from_proprioception(names: tuple[str, ...], values: np.ndarray, stamp: int) -> JointState:
    """
    Return the proprioception of an observation: one name and one position for each number.

    :param values: ``(P,)`` float32.
    :param stamp: of the observation [ns].
    """
    return stamped(JointState(name=list(names), position=values.tolist()), stamp)


def from_joints(state: MeasuredState, stamp: int) -> JointState:
    """Return the joints of a measured state as a ``JointState``; ``stamp`` in ns."""
    message = JointState(
        name=list(state.joints),
        position=state.positions.tolist(),
        velocity=state.velocities.tolist(),
    )
    return stamped(message, stamp)


def from_action(
    tokens: np.ndarray, values: np.ndarray, log_probability: float, stamp: int, **fields: Any
) -> Action:
    """
    Return an ``Action``.

    :param tokens: ``(K,)`` integers.
    :param values: ``(A,)`` float32, or ``(H, A)`` of a chunk, which also needs the field
        ``period``.
    :param stamp: of the observation [ns].
    :param fields: other fields of ``Action.msg``.
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
    """
    Return a ``StepsToGo``.

    :param probabilities: ``(bins,)`` float32.
    :param steps_to_go: mean of the distribution [steps].
    :param success: the success detector fires.
    :param stamp: of the observation [ns].
    :param fields: other fields of ``StepsToGo.msg``.
    """
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
    """Return a planar displacement per control step, ``(2,)`` [m], as a velocity [m/s]."""
    message = stamped(TwistStamped(), stamp, frame)
    velocity = np.asarray(values, np.float64) * rate_hz
    message.twist.linear.x = float(velocity[0])
    message.twist.linear.y = float(velocity[1])
    return message


def from_world(
    positions: dict[str, np.ndarray],
    success: bool,
    distance: float,
    stamp: int,
    *,
    info: Mapping[str, Any] | None = None,
) -> WorldState:
    """
    Return simulator truth as a ``WorldState``.

    :param positions: ``(3,)`` each [m], in this order: tool, source, target, the other blocks.
    :param distance: to the goal [m].
    :param info: newest info of a Gymnasium environment, as JSON has it; None in other worlds.
    """
    points = [Point(x=float(p[0]), y=float(p[1]), z=float(p[2])) for p in positions.values()]
    return stamped(
        WorldState(
            success=bool(success),
            distance=float(distance),
            names=list(positions),
            positions=points,
            info=json.dumps(info) if info else '',
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


def from_goal(goal: EpisodeGoal) -> RunEpisode.Goal:
    """Return a goal as a request of ``RunEpisode``."""
    return RunEpisode.Goal(
        episode_id=goal.episode_id,
        index=goal.index,
        kind=goal.kind,
        instruction=goal.instruction,
        seed=goal.seed,
        max_steps=goal.max_steps,
        policy_version=goal.policy_version,
    )


def from_event(goal: EpisodeGoal, event: int, stamp: int, embodiment_hash: str) -> EpisodeEvent:
    """
    Return the START or END of the episode of a goal.

    :param event: ``EpisodeEvent.START`` or ``EpisodeEvent.END``.
    :param stamp: of the first or last observation [ns].
    """
    message = EpisodeEvent(
        event=event,
        episode_id=goal.episode_id,
        index=goal.index,
        kind=goal.kind,
        instruction=goal.instruction,
        seed=goal.seed,
        max_steps=goal.max_steps,
        policy_version=goal.policy_version,
        embodiment_hash=embodiment_hash,
    )
    return stamped(message, stamp)


def from_outcome(goal: EpisodeGoal, ending: EpisodeEnding) -> EpisodeOutcome:
    """Return the outcome of the episode of a goal."""
    message = EpisodeOutcome(
        episode_id=goal.episode_id,
        index=goal.index,
        kind=goal.kind,
        instruction=goal.instruction,
        outcome=ending.outcome.value,
        termination=ending.termination.value,
        detail=ending.detail,
        steps=ending.steps,
        policy_version=ending.policy_version,
        reward_version=ending.reward_version,
        steps_to_go=float(ending.steps_to_go),
    )
    return stamped(message, ending.stamp)


def from_permit(episode_id: str, stamp: int, *, lockstep: bool, valid_until: int = 0) -> Permit:
    """
    Return a permit to move.

    :param stamp: of the observation [ns]; in lockstep the permit passes its action only.
    :param valid_until: in real time the end of the permit [ns]; 0 in lockstep.
    """
    message = Permit(episode_id=episode_id, lockstep=lockstep, valid_until=from_ns(valid_until))
    return stamped(message, stamp)


def from_recording(
    episode_id: str, stamp: int, *, success: bool, uri: str = '', detail: str = ''
) -> Recording:
    """
    Return the result of recording one episode.

    :param stamp: of the last observation [ns]; 0 if the bag could not be written.
    :param uri: folder of the bag.
    :param detail: reason why the bag could not be written.
    """
    message = Recording(episode_id=episode_id, success=success, uri=uri, detail=detail)
    return stamped(message, stamp)


def from_release(release: ReleaseFields) -> PolicyRelease:
    """Return the announcement of a release."""
    return PolicyRelease(
        version=release.version,
        stage=release.stage,
        uri=release.uri,
        sha256=release.sha256,
        embodiment_hash=release.embodiment_hash,
    )


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
