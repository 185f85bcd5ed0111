"""Domain shifts of the table: camera pose and colours that differ from training."""

from __future__ import annotations

import colorsys
import math

import numpy as np

CAMERA = (0.0, -0.67, 1.06)  # position of the policy camera [m]
CAMERA_AXES = ((1.0, 0.0, 0.0), (0.0, 0.848, 0.53))  # its right and up vectors


def camera_pose(turn_deg: float, rise_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the position of the policy camera, ``(3,)`` [m], and its right and up vectors, ``(6,)``.

    All are in the table frame. The camera moves on a sphere around the table's centre and points
    at the centre.

    :param turn_deg: rotation around the vertical, anticlockwise seen from above [deg].
    :param rise_deg: rotation towards the vertical, before the turn [deg].
    """
    turn = _rotation(math.radians(turn_deg), 0, 1) @ _rotation(math.radians(-rise_deg), 1, 2)
    right, up = (turn @ np.array(axis) for axis in CAMERA_AXES)
    return turn @ np.array(CAMERA), np.concatenate([right, up])


def paint(rgba: tuple[float, ...], hue_deg: float) -> tuple[float, ...]:
    """Return a colour with its hue rotated by ``hue_deg`` [deg]."""
    if hue_deg == 0:
        return rgba
    hue, saturation, value = colorsys.rgb_to_hsv(*rgba[:3])
    return (*colorsys.hsv_to_rgb((hue + hue_deg / 360) % 1, saturation, value), rgba[3])


def _rotation(angle: float, first: int, second: int) -> np.ndarray:
    """Return the rotation by ``angle`` [rad] from axis ``first`` to ``second``, ``(3, 3)``."""
    rotation = np.eye(3)
    rotation[[first, second], [first, second]] = math.cos(angle)
    rotation[second, first] = math.sin(angle)
    rotation[first, second] = -math.sin(angle)
    return rotation
