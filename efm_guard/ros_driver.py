"""From numbers to a driver's messages, and the way to the driver."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.command import ARRAY, Command, GRIPPERS, POSE, TRAJECTORY, TWIST
from efm_core.embodiment import Embodiment
from efm_core.ros_messages import stamped
from efm_guard.setpoints import DriverCommand
from geometry_msgs.msg import PoseStamped, TwistStamped
import numpy as np
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint


def from_twist(numbers: np.ndarray, stamp: int, robot: Embodiment) -> TwistStamped:
    """Return a velocity of the tool, ``(6,)`` [m/s, rad/s], in the unit that the driver takes."""
    linear, angular = robot.command.scale or (1.0, 1.0)
    message = stamped(TwistStamped(), stamp, robot.command.frame)
    twist = message.twist
    twist.linear.x, twist.linear.y, twist.linear.z = (numbers[:3] / linear).tolist()
    twist.angular.x, twist.angular.y, twist.angular.z = (numbers[3:] / angular).tolist()
    return message


def from_pose(numbers: np.ndarray, stamp: int, robot: Embodiment) -> PoseStamped:
    """Return a pose of the tool, ``(7,)``."""
    message = stamped(PoseStamped(), stamp, robot.command.frame)
    place = message.pose.position
    turn = message.pose.orientation
    place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w = numbers.tolist()
    return message


def from_array(numbers: np.ndarray, stamp: int, robot: Embodiment) -> Float64MultiArray:
    """Return one number per joint; this message has no stamp."""
    return Float64MultiArray(data=numbers.tolist())


def from_positions(numbers: np.ndarray, stamp: int, robot: Embodiment) -> JointTrajectory:
    """Return a trajectory to one point; the stamp stays zero, which means *start now*."""
    horizon_s = robot.command.horizon_s or 1 / robot.control_rate_hz
    point = JointTrajectoryPoint(
        positions=numbers.tolist(), time_from_start=Duration(seconds=horizon_s).to_msg()
    )
    return JointTrajectory(joint_names=list(robot.command.joints), points=[point])


MAKERS = {
    TWIST: from_twist,
    POSE: from_pose,
    ARRAY: from_array,
    TRAJECTORY: from_positions,
}


class Driver:
    """The way to a robot's driver: its topic, and its gripper's action."""

    def __init__(self, node: Node, robot: Embodiment, *, lockstep: bool = False):
        self._node = node
        self._robot = robot
        topic = topics.command_topic(robot.command)
        self._publisher = ros_topics.publisher(node, topic, lockstep)
        self._gripper = GripperPort(node, robot.command) if robot.command.gripper.action else None

    def send(self, command: DriverCommand, stamp: int) -> None:
        """
        Send what an action became.

        :param stamp: of the observation [ns]; the table's commands carry it, since bags are joined
            by it. Drivers refuse what is old, so theirs carry the time of sending.
        """
        self._publish(
            command.values, stamp if self._robot.command.is_planar_displacement else self._now()
        )
        if self._gripper and command.gripper is not None:
            self._gripper.move(command.gripper)

    def stop(self, numbers: np.ndarray | None, stamp: int) -> None:
        """Send what stops the robot; the gripper stays where it is."""
        if numbers is not None:
            self._publish(numbers, stamp)
        if self._gripper:
            self._gripper.stop()

    def destroy(self) -> None:
        """Take back what is no publisher and no subscription."""
        if self._gripper:
            self._gripper.destroy()

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _publish(self, numbers: np.ndarray, stamp: int) -> None:
        make = MAKERS[self._robot.command.type]
        self._publisher.publish(make(numbers, stamp, self._robot))


class GripperPort:
    """Goals to a gripper: one at a time, the newest counts, and cancelled to stop."""

    def __init__(self, node: Node, command: Command):
        self._config = command.gripper
        self._type = ros_topics.message_type(command.gripper.type)
        self._client = ActionClient(node, self._type, command.gripper.action)
        self._goal: float | None = None
        self._handle: Any = None

    def move(self, position: float) -> None:
        """Ask for a position [rad or m], unless it was asked for already."""
        near = self._goal is not None and abs(position - self._goal) < self._config.tolerance
        if near or not self._client.server_is_ready():
            return
        self._goal = position
        self._client.send_goal_async(self._to_goal(position)).add_done_callback(
            lambda future: self._on_accepted(future, position)
        )

    def stop(self) -> None:
        """Cancel what is under way; whoever holds something goes on holding it."""
        self._goal = None
        if self._handle is not None:
            self._handle.cancel_goal_async()
            self._handle = None

    def destroy(self) -> None:
        """End the client."""
        self._client.destroy()

    def _on_accepted(self, future: Any, position: float) -> None:
        handle = future.result()
        if not handle.accepted:
            self._goal = None
        elif self._goal == position:
            self._handle = handle
        else:  # stopped, or told otherwise, before the answer came
            handle.cancel_goal_async()

    def _to_goal(self, position: float) -> Any:
        effort = self._config.max_effort
        goal = self._type.Goal()
        if self._config.type == GRIPPERS[0]:
            goal.command.position = position
            goal.command.max_effort = effort
        else:
            goal.command = JointState(
                name=[self._config.joint],
                position=[position],
                effort=[effort] if effort else [],
            )
        return goal
