"""The guard node: the last node before the robot."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.config import expect
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.messages import to_stamp
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_guard.config import GuardConfig
from efm_guard.guard import Guard
from efm_guard.moment import Moment
from efm_guard.ros_emergency import EmergencySwitch
from efm_guard.ros_guarded_robot import GuardedRobot
from efm_guard.ros_messages import to_permit, to_request
from efm_guard.ros_robot import Robot
from efm_interfaces.msg import Action, EpisodeEvent, Permit
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState

CHECKS_PER_PERIOD = 10  # of the clock, for chunk steps: none is late by more than a tenth


class GuardNode(ManagedNode):
    """
    Pass an action to the robot only if no rule forbids it.

    Subscribes ``action``, ``permit``, ``episode_event``, ``estop`` and the measured state that the
    embodiment's command needs; with chunks in lockstep ``joint_states`` too, for the world's time.
    Publishes the driver's commands, ``executed`` and ``estop_reset``; serves ``reset_estop``. When
    the node stops acting, for whatever reason, its last command stops the robot, and the node
    waits until the driver has acknowledged it.
    """

    config_type = GuardConfig

    def __init__(self, **kwargs: Any) -> None:
        """Wait for configure."""
        super().__init__('guard', **kwargs)

    def build(self) -> None:
        """Check the embodiment, connect the topics."""
        lockstep = self.config.lockstep
        embodiment = load_embodiment(self.config.embodiment)
        simulated = embodiment.command.is_planar_displacement
        expect(simulated or not lockstep, 'lockstep', 'false with a real arm', lockstep)
        self._guard = Guard(embodiment, lockstep)
        self._diagnostics = Diagnostics(self)
        self._robot = Robot(self, embodiment, lockstep=lockstep)
        self._guarded = GuardedRobot(
            self, guard=self._guard, robot=self._robot, diagnostics=self._diagnostics
        )
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        ros_topics.subscription(self, topics.PERMIT, self._on_permit)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self._on_event)
        self._estop = EmergencySwitch(
            self, on_press=self._on_press, on_reset=self._guard.release_emergency
        )
        self._robot.connect()
        self._watch_time(embodiment)

    def _watch_time(self, embodiment: Embodiment) -> None:
        """Check the clock in time for each chunk step, and for commands that are stale."""
        rate = self.config.check_rate_hz
        if embodiment.action.chunk > 1:
            rate = max(rate, CHECKS_PER_PERIOD * embodiment.control_rate_hz)
            if self.config.lockstep:
                world_time = topics.JOINT_STATES
                ros_topics.subscription(self, world_time, self._on_world_time, lockstep=True)
        self.create_timer(1 / rate, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def dismantle(self) -> None:
        """Disconnect the robot, then as every node."""
        if hasattr(self, '_robot'):
            self._robot.disconnect()
        super().dismantle()

    def hold(self) -> None:
        """Stop the robot, and wait until its driver knows."""
        self._guard.revoke()
        self._robot.stop(self._moment())
        timeout_s = self.config.stop_timeout_s
        if not self._robot.wait_for_driver(timeout_s):
            self.get_logger().error(
                f'stop: expected an acknowledgement of the driver within {timeout_s} s, got none; '
                'look whether the robot moves, and raise stop_timeout_s on a slow network'
            )

    def _moment(self) -> Moment:
        return Moment(int(self.get_clock().now().nanoseconds), time.monotonic_ns())

    def _on_action(self, message: Action) -> None:
        if not self.is_active:
            return
        started = time.monotonic()
        try:
            request = to_request(message)
        except ValueError as error:
            self._diagnostics.count_dropped(f'action refused: {error}')
            return
        self._guarded.on_action(request, self._moment())
        self._diagnostics.count_processed(started)

    def _on_permit(self, message: Permit) -> None:
        if self.is_active:
            self._guarded.on_permit(to_permit(message), self._moment())

    def _on_world_time(self, message: JointState) -> None:
        if self.is_active:
            self._guarded.on_world_time(to_stamp(message), self._moment())

    def _on_event(self, event: EpisodeEvent) -> None:
        is_over = event.event == EpisodeEvent.END
        self._guarded.on_episode(event.episode_id, is_over=is_over, now=self._moment())

    def _on_press(self) -> None:
        self._guarded.on_emergency(self._moment())

    def _on_tick(self) -> None:
        if not self._robot.connect():
            text = 'use_sim_time is true, but no simulated time was received; waiting for /clock'
            self.get_logger().info(text, throttle_duration_sec=5.0, skip_first=True)
            return
        now = self._moment()
        if not self.config.lockstep:
            self._guarded.on_time(now)
        self._guarded.stop_if_due(now)


def main(args: list[str] | None = None) -> None:
    """Run the guard node."""
    run(GuardNode, args)


if __name__ == '__main__':
    main()
