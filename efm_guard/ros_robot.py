"""The robot as the guard sees it: its measured state, its driver, and what was executed."""

from __future__ import annotations

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_guard.chunk_executor import ActionRequest
from efm_guard.commander import Commander
from efm_guard.ros_driver import Driver
from efm_guard.ros_messages import from_executed
from efm_guard.ros_state import StateListener
from rclpy.node import Node
from rclpy.publisher import Publisher


class Robot:
    """
    Sends actions to the driver as commands within the limits, and the commands that stop it.

    :param lockstep: the simulated world waits for each command.
    :ivar listener: the measured state of the robot.
    :ivar driver: the driver; None until `connect` has succeeded.
    """

    def __init__(self, node: Node, embodiment: Embodiment, *, lockstep: bool) -> None:
        self._node = node
        self._embodiment = embodiment
        self._lockstep = lockstep
        self._commander = Commander(embodiment)
        self._executed: Publisher | None = None
        if not embodiment.command.is_planar_displacement:
            self._executed = ros_topics.publisher(node, topics.EXECUTED)
        self.listener = StateListener(node, embodiment)
        self.driver: Driver | None = None

    def connect(self) -> bool:
        """
        Offer the driver commands, once; return whether they are offered.

        The supervisor starts episodes when it finds the offer. Simulated time must run before:
        without it every action would be early, or none late.
        """
        waits = self._node.get_clock().ros_time_is_active and not self._lockstep
        if self.driver is None and not (waits and self._now() == 0):
            self.driver = Driver(self._node, self._embodiment, lockstep=self._lockstep)
        return self.driver is not None

    def send(self, request: ActionRequest) -> None:
        """
        Send an action, or a chunk step, to the driver, if one is connected.

        :raises ValueError: when the state is missing or old, or the command breaks a limit.
        """
        if self.driver is None:
            return
        command = self._commander.driver_command(request.values, self.listener.state, self._now())
        self.driver.send(command, request.stamp)
        if self._executed:
            self._executed.publish(from_executed(request))

    def stop(self) -> None:
        """Send the command that stops the robot; without a driver nothing was ever sent."""
        if self.driver is None:
            return
        now = self._now()
        values = self._commander.stop(self.listener.state, now)
        self.driver.stop(values, 0 if self._lockstep else now)

    def disconnect(self) -> None:
        """End the driver's gripper client; topics end with the node."""
        if self.driver is not None:
            self.driver.destroy()
            self.driver = None

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
