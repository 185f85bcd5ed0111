"""The measured state of the robot: from joint_states, or from tf or the topic of its pose."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_core.messages import to_pose_in, to_positions_of, to_stamp
from efm_core.poses import TransformTree
from efm_core.ros_tool_pose import listen_to_tf
from efm_guard.setpoints import RobotState
import numpy as np
from rclpy.node import Node


class StateListener:
    """Subscribes the state that the embodiment's command needs; nothing if it needs none."""

    def __init__(self, node: Node, robot: Embodiment) -> None:
        self._command = command = robot.command
        self._positions: tuple[np.ndarray, int] | None = None
        self._pose: tuple[np.ndarray, int] | None = None
        self._problem = 'nothing measured yet'
        self._tree: TransformTree | None = None
        if command.drives_joints:
            ros_topics.subscription(node, topics.JOINT_STATES, self._on_joints)
        elif command.needs_pose and command.pose_topic:
            ros_topics.subscription(node, topics.pose_topic(command), self._on_pose)
        elif command.needs_pose:
            self._tree = listen_to_tf(node)

    @property
    def state(self) -> RobotState:
        """The newest measured state."""
        if self._tree is not None:
            self._look_up(self._tree)
        positions, joints_stamp = self._positions or (None, 0)
        pose, pose_stamp = self._pose or (None, 0)
        return RobotState(positions, pose, stamp=joints_stamp or pose_stamp, problem=self._problem)

    def _on_joints(self, message: Any) -> None:
        """Take the command's joints; ignore messages of other parts of the robot."""
        try:
            positions = to_positions_of(message, self._command.joints)
        except ValueError as error:
            self._problem = str(error)
            return
        self._positions = positions, to_stamp(message)

    def _on_pose(self, message: Any) -> None:
        try:
            self._pose = to_pose_in(message, self._command.frame), to_stamp(message)
        except ValueError as error:
            self._problem = str(error)

    def _look_up(self, tree: TransformTree) -> None:
        try:
            pose, stamp = tree.pose(self._command.tool_frame, self._command.frame)
        except LookupError as error:
            self._problem = str(error)
            return
        self._pose = pose, stamp or 0
