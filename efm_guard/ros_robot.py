"""The robot as the guard sees it: its measured state, its driver, and what was executed."""

from __future__ import annotations

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_guard.chunk_executor import ActionRequest
from efm_guard.commander import Commander
from efm_guard.moment import Moment
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
        if topics.executed_topic(embodiment.command) == topics.EXECUTED:
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

    @property
    def shortened(self) -> int:
        """The number of commands that came too early for the speed limit, and went less far."""
        return self._commander.shortened

    def send(self, request: ActionRequest, now: Moment) -> bool:
        """
        Send an action, or a chunk step, to the driver, if one is connected; return whether it is.

        :raises ValueError: when the state is missing or old, or the command breaks a limit.
        """
        if self.driver is None:
            return False
        command = self._commander.driver_command(request.values, self.listener.state, now)
        self.driver.send(command, request.stamp)
        if self._executed:
            self._executed.publish(from_executed(request))
        return True

    def stop(self, now: Moment) -> None:
        """Send the command that stops the robot; without a driver nothing was ever sent."""
        if self.driver is None:
            return
        values = self._commander.stop(self.listener.state, now)
        self.driver.stop(values, 0 if self._lockstep else now.ros)

    def wait_for_driver(self, timeout_s: float) -> bool:
        """Return whether the driver acknowledged every command, the last stop too, in time."""
        return self.driver is None or self.driver.wait_for_acknowledgement(timeout_s)

    def disconnect(self) -> None:
        """End the driver's gripper client; topics end with the node."""
        if self.driver is not None:
            self.driver.destroy()
            self.driver = None

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
