"""A second process beside the guard: it stops the robot when the guard is killed or frozen."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.config import expect
from efm_core.embodiment import load_embodiment
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_guard.command_watch import CommandWatch, moves
from efm_guard.config import GuardWatchConfig
from efm_guard.ros_driver import Driver
import numpy as np
from rclpy.clock import Clock, ClockType


class GuardWatchNode(ManagedNode):
    """
    Subscribes the driver's commands, and publishes zero velocity when they cease in motion.

    It repeats that for ten seconds, or until the guard moves the robot again. It is for drivers
    that repeat the last velocity for ever; a driver of positions ends its motion without commands.
    The publisher appears with the guard's first command, since the supervisor finds the guard by
    its publisher.
    """

    config_type = GuardWatchConfig

    def __init__(self, **kwargs: Any) -> None:
        """Wait for configure."""
        super().__init__('guard_watch', **kwargs)

    def build(self) -> None:
        """Check the kind of driver, connect the topic."""
        self._robot = robot = load_embodiment(self.config.embodiment)
        command = robot.command
        fits = command.interface_type in ('twist', 'velocities')
        expect(fits, 'command.controller', 'a driver of velocities', command.controller)
        limit_s = robot.action_lifetime_s + self.config.delay_s
        self._watch = CommandWatch(int(limit_s * 1e9))
        self._driver: Driver | None = None
        self._diagnostics = Diagnostics(self)
        ros_topics.subscription(self, topics.command_topic(command), self._on_command)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / self.config.check_rate_hz, self._on_tick, clock=steady)

    def _on_command(self, message: Any) -> None:
        if self._driver is None:
            self._driver = Driver(self, self._robot)
        self._watch.on_command(moves(message, self._robot.command), time.monotonic_ns())

    def _on_tick(self) -> None:
        if self._driver is None or not self._watch.must_stop(time.monotonic_ns()):
            return
        command = self._robot.command
        size = len(command.joints) if command.drives_joints else 6
        self._driver.stop(np.zeros(size), int(self.get_clock().now().nanoseconds))
        self._diagnostics.count_dropped(
            'guard: expected a command or a stop in time, got none; the robot was stopped'
        )


def main(args: list[str] | None = None) -> None:
    """Run the node."""
    run(GuardWatchNode, args)


if __name__ == '__main__':
    main()
