"""The fake driver node: simulated hardware for the embodiment of any arm."""

from __future__ import annotations

import dataclasses
from typing import Any

from efm_core import ros_topics, topics
from efm_core.config import expect
from efm_core.embodiment import load_embodiment
from efm_core.observation import MeasuredState
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_joints, from_transform
from efm_sim.fake_arm.command import read_command
from efm_sim.fake_arm.config import FakeDriverConfig
from efm_sim.fake_arm.driver import FakeArm
from efm_sim.fake_arm.ros_gripper import FakeGripper
import numpy as np
from rclpy.clock import Clock, ClockType
from tf2_msgs.msg import TFMessage


class FakeDriverNode(ManagedNode):
    """
    Drives a simulated arm and its gripper.

    Subscribes the embodiment's command; publishes ``joint_states`` and ``/tf``; serves the
    gripper's action. While inactive it publishes nothing and ignores commands, like hardware that
    is switched off.
    """

    config_type = FakeDriverConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('fake_driver', **kwargs)

    def build(self) -> None:
        """Place the arm at its start; create publishers, subscription, action and timer."""
        self._command = load_embodiment(self.config.embodiment).command
        expect(
            not self._command.is_simulated, 'embodiment', 'an arm', 'a robot of a simulated world'
        )
        self.arm = FakeArm(self.config, self._command)
        self._diagnostics = Diagnostics(self)
        self._gripper = FakeGripper(self, self._command.gripper, speed=self.config.gripper_speed)
        self._names = self._command.joints or tuple(f'joint{i}' for i in range(1, 7))
        joint_states = dataclasses.replace(topics.JOINT_STATES, qos=topics.RELIABLE)
        self._joints = ros_topics.publisher(self, joint_states)
        self._transforms = self.create_publisher(TFMessage, topics.TF, 10)
        ros_topics.subscription(self, topics.command_topic(self._command), self._on_command)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / self.config.rate_hz, self._on_period, clock=steady)

    def dismantle(self) -> None:
        """Destroy the gripper's action server and what `build` created."""
        if getattr(self, '_gripper', None):
            self._gripper.destroy()
        super().dismantle()

    def _now(self) -> int:
        """Return the time [ns]."""
        return self.get_clock().now().nanoseconds

    def _on_command(self, message: Any) -> None:
        if not self.is_active:
            return
        try:
            reason = self.arm.receive(read_command(message, self._command), self._now())
        except ValueError as error:
            reason = str(error)
        if reason:
            self._diagnostics.count_dropped(reason)

    def _on_period(self) -> None:
        now = self._now()
        self.arm.step(now)
        self._gripper.step(now)
        if self.is_active:
            self._publish(now)

    def _publish(self, stamp: int) -> None:
        """Publish the state of joints, gripper and tool; ``stamp`` in ns."""
        names = self._names
        positions = self.arm.joints
        if self._gripper.name:
            names = (*names, self._gripper.name)
            positions = np.append(positions, self._gripper.position)
        self._joints.publish(from_joints(MeasuredState(names, positions), stamp))
        tool = from_transform(
            self.arm.pose,
            stamp,
            frame=self._command.frame,
            child=self._command.tool_frame or 'tool',
        )
        self._transforms.publish(TFMessage(transforms=[tool]))


def main(args: list[str] | None = None) -> None:
    """Run the fake driver node."""
    run(FakeDriverNode, args)


if __name__ == '__main__':
    main()
