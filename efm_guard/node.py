"""The guard node: the last node before the robot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.config import expect
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.messages import to_stamp
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_guard.chunk_executor import ActionRequest
from efm_guard.config import GuardConfig
from efm_guard.guard import Guard
from efm_guard.moment import Moment
from efm_guard.ros_messages import to_permit, to_request
from efm_guard.ros_robot import Robot
from efm_interfaces.msg import Action, EpisodeEvent, Permit
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

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
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        ros_topics.subscription(self, topics.PERMIT, self._on_permit)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self._on_event)
        self._is_pressed = False
        ros_topics.estop_subscriptions(self, self._on_estop)
        self._resets = ros_topics.publisher(self, topics.ESTOP_RESET)
        self.create_service(Trigger, topics.RESET_ESTOP, self._on_reset_estop)
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
        now = self._moment()
        self._send(self._ask(partial(self._guard.on_action, request, now)), now)
        self._stop_if_due(now)
        self._diagnostics.count_processed(started)

    def _on_permit(self, message: Permit) -> None:
        if self.is_active:
            now = self._moment()
            take = partial(self._guard.on_permit, to_permit(message), now)
            self._send(self._ask(take, 'permit'), now)
            self._stop_if_due(now)

    def _on_world_time(self, message: JointState) -> None:
        """Send the chunk step for the time of the world, which waits for it."""
        if self.is_active:
            now = self._moment()
            self._send(self._guard.on_time(now._replace(ros=to_stamp(message))), now)

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.END:
            self._guard.end(event.episode_id)
            self._robot.stop(self._moment())
        else:
            self._guard.begin(event.episode_id)
            self._report_fault()

    def _on_estop(self, message: Bool) -> None:
        self._is_pressed = message.data
        if message.data and not self._guard.emergency:  # each sample may arrive several times
            self._guard.on_emergency()
            self._robot.stop(self._moment())

    def _on_reset_estop(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Release the emergency stop, unless its switch still asks for it."""
        if self._is_pressed and self.count_publishers(topics.ESTOP.name):
            response.message = (
                'reset_estop: expected false as the newest estop, got true; release the switch '
                'first, or end its publisher'
            )
            return response
        self._guard.release_emergency()
        self._resets.publish(Bool(data=True))
        response.success = True
        return response

    def _on_tick(self) -> None:
        if not self._robot.connect():
            text = 'use_sim_time is true, but no simulated time was received; waiting for /clock'
            self.get_logger().info(text, throttle_duration_sec=5.0, skip_first=True)
            return
        now = self._moment()
        if not self.config.lockstep:
            self._send(self._ask(partial(self._guard.on_time, now)), now)
        self._stop_if_due(now)

    def _stop_if_due(self, now: Moment) -> None:
        if self._guard.must_stop(now):
            self._robot.stop(now)
        self._report_fault()

    def _report_fault(self) -> None:
        """Report a new fault, or its end, at once: the supervisor ends the episode by it."""
        fault = self._guard.fault
        is_new = bool(fault) != bool(self._diagnostics.fault)
        self._diagnostics.fault = fault
        if is_new:
            if fault:
                self.get_logger().error(fault)
            self._diagnostics.report()

    def _ask(
        self, decide: Callable[[], ActionRequest | None], what: str = 'action'
    ) -> ActionRequest | None:
        """Return the action that the guard lets pass; report what it refuses or skips."""
        refusals = sum(self._guard.refused.values())
        skipped = self._guard.skipped
        passed = decide()
        if sum(self._guard.refused.values()) > refusals:
            self._diagnostics.count_dropped(f'{what} refused: {self._guard.last_refusal}')
        for _ in range(self._guard.skipped - skipped):
            self._diagnostics.count_dropped('chunk step skipped: its time had passed')
        return passed

    def _send(self, request: ActionRequest | None, now: Moment) -> None:
        """Send an action that may pass and keeps the limits; otherwise stop the robot."""
        if request is None:
            return
        shortened = self._robot.shortened
        try:
            if self._robot.send(request, now):
                self._guard.on_sent()
        except ValueError as error:
            self._guard.refuse(str(error))
            self._diagnostics.count_dropped(f'action refused: {error}')
            self._guard.cut()
            self._robot.stop(now)
        if self._robot.shortened > shortened:
            self._diagnostics.count_dropped('command shortened: it came before its time')


def main(args: list[str] | None = None) -> None:
    """Run the guard node."""
    run(GuardNode, args)


if __name__ == '__main__':
    main()
