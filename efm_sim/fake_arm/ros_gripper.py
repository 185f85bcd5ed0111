"""A simulated gripper with the action server of a real one."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics
from efm_core.command import Gripper, GRIPPERS
import numpy as np
from rclpy.action import ActionServer, CancelResponse
from rclpy.node import Node
from sensor_msgs.msg import JointState


class FakeGripper:
    """
    Serves one of the two gripper actions; a new goal aborts the goal in progress.

    :ivar name: name of its joint; empty without a gripper.
    :ivar position: of its joint [rad or m].
    """

    def __init__(self, node: Node, gripper: Gripper, *, speed: float):
        """Create the action server, if there is a gripper; ``speed`` in rad/s or m/s."""
        self._config = gripper
        self._speed = speed
        self.name = (gripper.joint or 'gripper') if gripper.action else ''
        self.position = gripper.low
        self._goal = gripper.low
        self._time = 0
        self._goal_handle: Any = None
        self._server: ActionServer | None = None
        if gripper.action:
            self._type = ros_topics.message_type(gripper.type)
            self._server = ActionServer(
                node,
                self._type,
                gripper.action,
                execute_callback=self._finish,
                handle_accepted_callback=self._on_accepted,
                cancel_callback=lambda handle: CancelResponse.ACCEPT,
            )

    def step(self, now: int) -> None:
        """Advance to the time ``now`` [ns]; finish a goal that is reached or cancelled."""
        period_s = (now - self._time) / 1e9 if self._time else 0.0
        self._time = now
        handle = self._goal_handle
        if handle is None:
            return
        if handle.is_cancel_requested:
            self._goal = self.position
        reach = self._speed * period_s
        self.position += float(np.clip(self._goal - self.position, -reach, reach))
        if self.position == self._goal:
            self._goal_handle = None
            handle.execute()

    def destroy(self) -> None:
        """Destroy the action server."""
        if self._server:
            self._server.destroy()

    def _on_accepted(self, handle: Any) -> None:
        if self._goal_handle is not None:
            self._goal_handle.execute()
        goal = handle.request.command
        position = goal.position if self._config.type == GRIPPERS[0] else goal.position[0]
        self._goal_handle = handle
        self._goal = min(max(position, self._config.low), self._config.high)

    def _finish(self, handle: Any) -> Any:
        """Return the result of a goal: reached, cancelled, or aborted by a newer goal."""
        reached = self.position == self._goal
        result = self._type.Result()
        if handle.is_cancel_requested:
            handle.canceled()
        elif reached:
            handle.succeed()
        else:
            handle.abort()
        result.reached_goal = reached
        if self._config.type == GRIPPERS[0]:
            result.position = self.position
        else:
            result.state = JointState(name=[self.name], position=[self.position])
        return result
