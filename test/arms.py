"""A small arm for each kind of driver, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from efm_core.command import ARRAY, Command, Gripper, Limits, POSE, TRAJECTORY, TWIST
from efm_core.embodiment import ActionSpace, Embodiment
from models import table_arm
import numpy as np

JOINTS = tuple(f'joint{index}' for index in range(1, 7))
JOINT_LIMITS = Limits(
    position_min=(-2.0,) * 6,
    position_max=(2.0,) * 6,
    max_velocity=(1.0,) * 6,
    max_following_error=0.5,
)
TOOL_LIMITS = Limits(
    workspace_min=(-2.0, -2.0, -1.0),
    workspace_max=(2.0, 2.0, 2.0),
    max_linear_velocity=0.3,
    max_angular_velocity=1.0,
)
GRIPPER = Gripper('gripper_cmd', joint='finger', high=0.08)
TYPES = {
    'joint_trajectory_controller': TRAJECTORY,
    'forward_position_controller': ARRAY,
    'forward_velocity_controller': ARRAY,
    'moveit_servo': TWIST,
    'cartesian_pose_controller': POSE,
}
KINDS = tuple(TYPES)


def limits_of(controller: str) -> Limits:
    """Return limits that a driver uses; without positions there is no following error."""
    if controller in ('moveit_servo', 'cartesian_pose_controller'):
        return TOOL_LIMITS
    following = controller != 'forward_velocity_controller'
    return JOINT_LIMITS if following else replace(JOINT_LIMITS, max_following_error=0.0)


def make_command(controller: str, **changes: Any) -> Command:
    """Return the command block of a driver; the first two joints, or x and yaw, are driven."""
    on_joints = controller not in ('moveit_servo', 'cartesian_pose_controller')
    fields = {
        'type': TYPES[controller],
        'frame': 'base',
        'controller': controller,
        'topic': 'driver/command',
        'axes': ('joint1', 'joint2') if on_joints else ('x', 'yaw'),
        'joints': JOINTS,
        'tool_frame': '' if on_joints else 'tool',
        'limits': limits_of(controller),
    }
    return Command(**{**fields, **changes})


def make_arm(controller: str, low: float = -0.1, high: float = 0.1, **changes: Any) -> Embodiment:
    """Return an arm with a driver of this kind; ``changes`` are those of its command."""
    command = make_command(controller, **changes)
    names = tuple(f'value_{axis}' for axis in command.axes)
    space = ActionSpace(names, 'rad or m', low=(low,) * len(names), high=(high,) * len(names))
    return replace(
        table_arm(), name=controller, action=space, command=command, action_lifetime_s=0.5
    )


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """Return a pose without a turn."""
    return np.array([x, y, z, 0.0, 0.0, 0.0, 1.0])
