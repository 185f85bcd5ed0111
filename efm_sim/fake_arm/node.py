"""The fake driver node: hardware that any embodiment of an arm can be tried on."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.command import ARRAY, GRIPPERS, POSE, TRAJECTORY, TWIST
from efm_core.config import expect
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_ns, to_pose, to_stamp, to_twist
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_joints, from_ns
from efm_sim.fake_arm.config import FakeDriverConfig
from efm_sim.fake_arm.driver import FakeArm, Received
from geometry_msgs.msg import TransformStamped
import numpy as np
from rclpy.action import ActionServer, CancelResponse
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage


def read_command(message: Any, command: Any) -> Received:
    """
    Return a driver's message as numbers.

    :raises ValueError: when it is not what this driver takes.
    """
    if command.type == ARRAY:
        return Received(np.array(message.data))
    if command.type == TRAJECTORY:
        names = tuple(message.joint_names)
        expect(names == command.joints, 'trajectory', f'joints {command.joints}', names)
        expect(len(message.points) == 1, 'trajectory', 'one point', len(message.points))
        point = message.points[0]
        seconds = to_ns(point.time_from_start) / 1e9
        return Received(np.array(point.positions), to_stamp(message), duration_s=seconds)
    frame = message.header.frame_id
    expect(frame == command.frame, 'frame of the command', command.frame, repr(frame))
    read = {TWIST: lambda m: to_twist(m, command.scale), POSE: lambda m: to_pose(m.pose)}
    return Received(read[command.type](message), to_stamp(message))


class FakeDriverNode(ManagedNode):
    """
    Drive an arm that is not there.

    Subscribes what the embodiment's command says; publishes ``joint_states`` and ``/tf``; serves
    the gripper's action. Inactive, it publishes nothing and takes nothing, as if it had vanished.
    """

    config_type = FakeDriverConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('fake_driver', **kwargs)

    def build(self) -> None:
        """Put the arm at its start, connect the topics."""
        self._command = load_embodiment(self.config.embodiment).command
        expect(
            not self._command.is_planar_displacement, 'embodiment', 'an arm', 'the simulated table'
        )
        self.arm = FakeArm(self.config, self._command)
        self._diagnostics = Diagnostics(self)
        self._gripper = FakeGripper(self, self._command.gripper, speed=self.config.gripper_speed)
        self._names = self._command.joints or tuple(f'joint{i}' for i in range(1, 7))
        every = topics.Topic(
            topics.JOINT_STATES.name, topics.JOINT_STATES.type, qos=topics.RELIABLE, meaning=''
        )
        self._joints = ros_topics.publisher(self, every)
        self._transforms = self.create_publisher(TFMessage, topics.TF, 10)
        ros_topics.subscription(self, topics.command_topic(self._command), self._on_command)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / self.config.rate_hz, self._on_period, clock=steady)

    def dismantle(self) -> None:
        """End the gripper's action too."""
        if getattr(self, '_gripper', None):
            self._gripper.destroy()
        super().dismantle()

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_command(self, message: Any) -> None:
        if not self.is_active:
            return
        try:
            reason = self.arm.take(read_command(message, self._command), self._now())
        except ValueError as error:
            reason = str(error)
        if reason:
            self._diagnostics.count_dropped(reason)

    def _on_period(self) -> None:
        now = self._now()
        self.arm.step(now)
        self._gripper.step(now)
        if not self.is_active:
            return
        names = self._names
        positions = self.arm.joints
        if self._gripper.name:
            names = (*names, self._gripper.name)
            positions = np.append(positions, self._gripper.at)
        self._joints.publish(from_joints(names, positions, now))
        self._transforms.publish(TFMessage(transforms=[self._transform(now)]))

    def _transform(self, stamp: int) -> TransformStamped:
        message = TransformStamped(child_frame_id=self._command.tool_frame or 'tool')
        message.header.stamp = from_ns(stamp)
        message.header.frame_id = self._command.frame
        place = message.transform.translation
        turn = message.transform.rotation
        place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w = self.arm.pose.tolist()
        return message


class FakeGripper:
    """
    Serves either of the two gripper actions; a goal under way gives way to a newer one.

    :ivar at: where it is [rad or m].
    """

    def __init__(self, node: ManagedNode, gripper: Any, *, speed: float):
        self._config = gripper
        self._speed = speed
        self.name = (gripper.joint or 'gripper') if gripper.action else ''
        self.at = self._wanted = gripper.low
        self._time = 0
        self._handle: Any = None
        self._server: ActionServer | None = None
        if gripper.action:
            self._type = ros_topics.message_type(gripper.type)
            self._server = ActionServer(
                node,
                self._type,
                gripper.action,
                execute_callback=self._conclude,
                handle_accepted_callback=self._on_accepted,
                cancel_callback=lambda handle: CancelResponse.ACCEPT,
            )

    def step(self, now: int) -> None:
        """Move on to the time ``now`` [ns]; a goal that is reached, or cancelled, is answered."""
        period_s, self._time = (now - self._time) / 1e9 if self._time else 0.0, now
        handle = self._handle
        if handle is None:
            return
        if handle.is_cancel_requested:
            self._wanted = self.at
        way = self._speed * period_s
        self.at += float(np.clip(self._wanted - self.at, -way, way))
        if self.at == self._wanted:
            self._handle = None
            handle.execute()

    def destroy(self) -> None:
        """End the server."""
        if self._server:
            self._server.destroy()

    def _on_accepted(self, handle: Any) -> None:
        if self._handle is not None:
            self._handle.execute()
        goal = handle.request.command
        position = goal.position if self._config.type == GRIPPERS[0] else goal.position[0]
        self._handle = handle
        self._wanted = min(max(position, self._config.low), self._config.high)

    def _conclude(self, handle: Any) -> Any:
        """Answer: reached, cancelled, or pushed aside by a newer goal."""
        reached = self.at == self._wanted
        result = self._type.Result()
        if handle.is_cancel_requested:
            handle.canceled()
        elif reached:
            handle.succeed()
        else:
            handle.abort()
        result.reached_goal = reached
        if self._config.type == GRIPPERS[0]:
            result.position = self.at
        else:
            result.state = JointState(name=[self.name], position=[self.at])
        return result


def main(args: list[str] | None = None) -> None:
    """Run the fake driver node."""
    run(FakeDriverNode, args)


if __name__ == '__main__':
    main()
