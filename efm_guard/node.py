"""The guard node: the last hop before the robot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.config import expect
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.messages import to_ns, to_period, to_stamp, to_values
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_action
from efm_guard.commander import Commander
from efm_guard.config import GuardConfig
from efm_guard.guard import ActionRequest, Guard, Lease
from efm_guard.ros_driver import Driver
from efm_guard.ros_state import StateListener
from efm_interfaces.msg import Action, EpisodeEvent, Permit
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

ROW_CHECKS = 10  # looks at the clock in a control period, for the rows of chunks


def to_request(message: Action) -> ActionRequest:
    """
    Return what the guard is asked by an action.

    :raises ValueError: when its rows are not of one length.
    """
    return ActionRequest(
        message.episode_id,
        to_stamp(message),
        deadline=to_ns(message.deadline),
        embodiment_hash=message.embodiment_hash,
        values=to_values(message),
        period=to_period(message),
    )


class GuardNode(ManagedNode):
    """
    Let an action through only when nothing speaks against it.

    Subscribes ``action``, ``permit``, ``episode_event``, ``estop`` and the state that the
    embodiment's command needs; with chunks in lockstep ``joint_states`` too, for the world's time.
    Publishes ``command``, or what the robot's driver takes, and ``executed``. On every way out the
    last command is stop.
    """

    config_type = GuardConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('guard', **kwargs)

    def build(self) -> None:
        """Check the contract, connect the topics."""
        config = self.config
        robot = load_embodiment(config.embodiment)
        self._plain = robot.command.is_planar_displacement
        expect(
            self._plain or not config.lockstep,
            'lockstep',
            'false with a real arm',
            config.lockstep,
        )
        self._guard = Guard(robot, config.lockstep)
        self._diagnostics = Diagnostics(self)
        self._commander = Commander(robot)
        self._listener = StateListener(self, robot)
        self._executed = None if self._plain else ros_topics.publisher(self, topics.EXECUTED)
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        ros_topics.subscription(self, topics.PERMIT, self._on_permit)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self._on_event)
        ros_topics.subscription(self, topics.ESTOP, self._on_estop)
        self._driver: Driver | None = None
        self._connect_driver = partial(Driver, self, robot, lockstep=config.lockstep)
        self._offer()
        self._watch_time(robot)

    def _offer(self) -> bool:
        """
        Offer commands, for the supervisor a sign that it may begin; return whether they are.

        Not before the clock runs: without it everything would be too early, or nothing too late.
        """
        clock = self.get_clock()
        waits = clock.ros_time_is_active and not self.config.lockstep
        if self._driver is None and not (waits and clock.now().nanoseconds == 0):
            self._driver = self._connect_driver()
        return self._driver is not None

    def _watch_time(self, robot: Embodiment) -> None:
        """Look at the clock; with chunks so often that no row is a tenth of a period late."""
        rate = self.config.check_rate_hz
        if robot.action.chunk > 1:
            rate = max(rate, ROW_CHECKS * robot.control_rate_hz)
            if self.config.lockstep:
                topic = topics.JOINT_STATES
                listen = self._on_world_time
                ros_topics.subscription(self, topic, listen, lockstep=True)
        self.create_timer(1 / rate, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def dismantle(self) -> None:
        """Let go of the gripper's action too."""
        if getattr(self, '_driver', None):
            self._driver.destroy()
            self._driver = None
        super().dismantle()

    def hold(self) -> None:
        """Stop the robot."""
        self._guard.revoke()
        self._stop()

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_action(self, message: Action) -> None:
        if not self.is_active:
            return
        started = time.monotonic()
        try:
            request = to_request(message)
        except ValueError as error:
            self._diagnostics.count_dropped(f'action refused: {error}')
            return
        self._pass(self._heed(lambda: self._guard.on_action(request, self._now())))
        self._diagnostics.count_processed(started)

    def _on_world_time(self, message: JointState) -> None:
        """Send the row of a chunk that the world, which waits for it, has come to."""
        if self.is_active:
            self._pass(self._guard.on_time(to_stamp(message)))

    def _heed(self, ask: Callable[[], ActionRequest | None]) -> ActionRequest | None:
        """Return what the guard lets pass, and report what it refuses or had to skip."""
        refusals = sum(self._guard.refused.values())
        skipped = self._guard.skipped
        passed = ask()
        if sum(self._guard.refused.values()) > refusals:
            self._diagnostics.count_dropped(f'action refused: {self._guard.last_refusal}')
        for _ in range(self._guard.skipped - skipped):
            self._diagnostics.count_dropped('row of a chunk skipped: its time had passed')
        return passed

    def _on_permit(self, message: Permit) -> None:
        if self.is_active:
            self._pass(
                self._guard.on_lease(
                    Lease(
                        message.episode_id,
                        to_stamp(message),
                        valid_until=to_ns(message.valid_until),
                    )
                )
            )

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.END:
            self.hold()

    def _on_estop(self, message: Bool) -> None:
        self._guard.on_emergency(message.data)
        self._stop()

    def _on_tick(self) -> None:
        if not self._offer():
            words = 'waiting for the clock: use_sim_time is true, and nobody has said the time'
            self.get_logger().info(words, throttle_duration_sec=5.0, skip_first=True)
            return
        if not self.config.lockstep:
            self._pass(self._heed(lambda: self._guard.on_time(self._now())))
        if self._guard.must_stop(self._now()):
            self._stop()

    def _pass(self, request: ActionRequest | None) -> None:
        """Send what may pass and keeps the limits; otherwise hold."""
        if request is None or self._driver is None:
            return
        try:
            state = self._listener.state
            command = self._commander.driver_command(request.values, state, self._now())
        except ValueError as error:
            self._diagnostics.count_dropped(f'action refused: {error}')
            self._guard.cut()
            self._stop()
            return
        self._driver.send(command, request.stamp)
        if self._executed:
            self._executed.publish(
                from_action(
                    (),
                    request.values,
                    0.0,
                    request.stamp,
                    episode_id=request.episode_id,
                    embodiment_hash=request.embodiment_hash,
                )
            )

    def _stop(self) -> None:
        if self._driver is None:  # nothing was ever sent
            return
        now = self._now()
        numbers = self._commander.stop(self._listener.state, now)
        self._driver.stop(numbers, 0 if self.config.lockstep else now)


def main(args: list[str] | None = None) -> None:
    """Run the guard node."""
    run(GuardNode, args)


if __name__ == '__main__':
    main()
