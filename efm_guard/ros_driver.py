"""The messages of each kind of driver, and the connection to one driver."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.command import ACTION, ARRAY, Command, GRIPPERS, POSE, TRAJECTORY, TWIST
from efm_core.embodiment import Embodiment
from efm_core.ros_messages import from_action, stamped
from efm_guard.ros_messages import NO_TOKENS
from efm_guard.setpoints import DriverCommand
from efm_interfaces.msg import Action
from geometry_msgs.msg import PoseStamped, TwistStamped
import numpy as np
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint


def from_twist(values: np.ndarray, stamp: int, robot: Embodiment) -> TwistStamped:
    """Return a velocity of the tool, ``(6,)`` [m/s, rad/s], in the unit of the driver."""
    linear, angular = robot.command.scale or (1.0, 1.0)
    message = stamped(TwistStamped(), stamp, robot.command.frame)
    twist = message.twist
    twist.linear.x, twist.linear.y, twist.linear.z = (values[:3] / linear).tolist()
    twist.angular.x, twist.angular.y, twist.angular.z = (values[3:] / angular).tolist()
    return message


def from_pose(values: np.ndarray, stamp: int, robot: Embodiment) -> PoseStamped:
    """Return a pose of the tool, ``(7,)``."""
    message = stamped(PoseStamped(), stamp, robot.command.frame)
    place = message.pose.position
    turn = message.pose.orientation
    place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w = values.tolist()
    return message


def from_array(values: np.ndarray, stamp: int, robot: Embodiment) -> Float64MultiArray:
    """Return one value per joint; this message has no stamp."""
    return Float64MultiArray(data=values.tolist())


def from_positions(values: np.ndarray, stamp: int, robot: Embodiment) -> JointTrajectory:
    """Return a trajectory to one point; a stamp of zero means *start now*."""
    horizon_s = robot.command.horizon_s or 1 / robot.control_rate_hz
    point = JointTrajectoryPoint(
        positions=values.tolist(), time_from_start=Duration(seconds=horizon_s).to_msg()
    )
    return JointTrajectory(joint_names=list(robot.command.joints), points=[point])


def from_values(values: np.ndarray, stamp: int, robot: Embodiment) -> Action:
    """Return an action itself, ``(A,)`` in the units of the embodiment."""
    return from_action(NO_TOKENS, values, 0.0, stamp, embodiment_hash=robot.hash)


MAKERS = {
    ACTION: from_values,
    TWIST: from_twist,
    POSE: from_pose,
    ARRAY: from_array,
    TRAJECTORY: from_positions,
}


class Driver:
    """Publishes on the driver's topic, and sends goals to its gripper's action."""

    def __init__(self, node: Node, robot: Embodiment, *, lockstep: bool = False) -> None:
        self._node = node
        self._robot = robot
        topic = topics.command_topic(robot.command)
        self._publisher = ros_topics.publisher(node, topic, lockstep)
        self._gripper = GripperPort(node, robot.command) if robot.command.gripper.action else None

    def send(self, command: DriverCommand, stamp: int) -> None:
        """
        Send the command for one action.

        :param stamp: of the observation [ns]. Commands of a simulated robot carry it, because
            bags are joined by it. Other drivers reject old stamps, so their commands carry the
            time of sending.
        """
        self._publish(command.values, stamp if self._robot.command.is_simulated else self._now())
        if self._gripper and command.gripper is not None:
            self._gripper.move(command.gripper)

    def stop(self, values: np.ndarray | None, stamp: int) -> None:
        """Send the values that stop the robot, if any; the gripper keeps its position."""
        if values is not None:
            self._publish(values, stamp)
        if self._gripper:
            self._gripper.stop()

    def wait_for_acknowledgement(self, timeout_s: float) -> bool:
        """
        Return whether every reliable subscriber of the commands acknowledged them in time.

        DDS repeats a lost sample only while its publisher exists. Subscribers that request best
        effort acknowledge nothing, and are not waited for.
        """
        return bool(self._publisher.wait_for_all_acked(Duration(seconds=timeout_s)))

    def destroy(self) -> None:
        """End the gripper's client; publishers and subscriptions end with the node."""
        if self._gripper:
            self._gripper.destroy()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _publish(self, values: np.ndarray, stamp: int) -> None:
        make = MAKERS[self._robot.command.type]
        self._publisher.publish(make(values, stamp, self._robot))


class GripperPort:
    """Sends goals to a gripper's action server: one at a time; a stop cancels the goal."""

    def __init__(self, node: Node, command: Command) -> None:
        self._config = command.gripper
        self._type = ros_topics.message_type(command.gripper.type)
        self._client = ActionClient(node, self._type, command.gripper.action)
        self._goal: float | None = None
        self._handle: Any = None

    def move(self, position: float) -> None:
        """Send a position [rad or m] as goal, unless it is the goal already."""
        near = self._goal is not None and abs(position - self._goal) < self._config.tolerance
        if near or not self._client.server_is_ready():
            return
        self._goal = position
        self._client.send_goal_async(self._to_goal(position)).add_done_callback(
            lambda future: self._on_accepted(future, position)
        )

    def stop(self) -> None:
        """Cancel the goal; a gripper that holds an object goes on holding it."""
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
        else:  # a stop or another goal was sent before the server accepted
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
