"""Commands of every kind of driver, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
from typing import Any

from efm_core.command import ARRAY, Command, POSE, TRAJECTORY, TWIST
from efm_core.config import expect
from efm_core.messages import to_ns, to_pose, to_stamp, to_twist
import numpy as np


@dataclass(frozen=True)
class ReceivedCommand:
    """
    One command that a driver has received.

    :param values: positions or velocities ``(J,)``, a twist ``(6,)`` or a pose ``(7,)``, as
        `Command.interface_type` says.
    :param stamp: of the header [ns]; 0 without one.
    :param duration_s: time to the point of a trajectory; 0: as fast as allowed.
    """

    values: np.ndarray
    stamp: int = 0
    _: KW_ONLY
    duration_s: float = 0.0


def read_command(message: Any, command: Command) -> ReceivedCommand:
    """
    Return the content of a driver's message.

    :param message: of the type `Command.type`.
    :param command: command block of the embodiment.
    :raises ValueError: when joints, number of points, frame or pose do not fit the command block.
    """
    if command.type == ARRAY:
        return ReceivedCommand(np.array(message.data))
    if command.type == TRAJECTORY:
        return _read_trajectory(message, command)
    frame = message.header.frame_id
    expect(frame == command.frame, 'frame of the command', command.frame, repr(frame))
    read = {TWIST: lambda m: to_twist(m, command.scale), POSE: lambda m: to_pose(m.pose)}
    return ReceivedCommand(read[command.type](message), to_stamp(message))


def _read_trajectory(message: Any, command: Command) -> ReceivedCommand:
    names = tuple(message.joint_names)
    expect(names == command.joints, 'trajectory', f'joints {command.joints}', names)
    expect(len(message.points) == 1, 'trajectory', 'one point', len(message.points))
    point = message.points[0]
    seconds = to_ns(point.time_from_start) / 1e9
    return ReceivedCommand(np.array(point.positions), to_stamp(message), duration_s=seconds)
