"""The guard node: the last hop before the robot."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_ns, to_stamp, to_values
from efm_core.ros_diagnostics import Health
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_displacement
from efm_interfaces.msg import Action, EpisodeEvent, Permit
from efm_supervisor.config import GuardConfig
from efm_supervisor.guard import Guard, Lease, Request
import numpy as np
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Bool


class GuardNode(ManagedNode):
    """
    Let an action through only when nothing speaks against it.

    Subscribes ``action``, ``permit``, ``episode_event``, ``estop``; publishes ``command``. On
    every way out the last command is stop.
    """

    config_type = GuardConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('guard', **kwargs)

    def build(self) -> None:
        """Check the contract, connect the topics."""
        config = self.config
        self._embodiment = load_embodiment(config.embodiment)
        self._guard, self._health = Guard(self._embodiment, config.lockstep), Health(self)
        self._publisher = ros_topics.publisher(self, topics.COMMAND)
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        ros_topics.subscription(self, topics.PERMIT, self._on_permit)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self._on_event)
        ros_topics.subscription(self, topics.ESTOP, self._on_estop)
        self.create_timer(
            1 / config.check_rate_hz, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def hold(self) -> None:
        """Stop the robot."""
        self._guard.revoke()
        self._stop()

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_action(self, message: Action) -> None:
        if not self.is_active:
            return
        started, refusals = time.monotonic(), sum(self._guard.refused.values())
        passed = self._guard.on_action(
            Request(
                message.episode_id,
                to_stamp(message),
                to_ns(message.deadline),
                message.embodiment_hash,
                to_values(message),
            ),
            self._now(),
        )
        if sum(self._guard.refused.values()) > refusals:
            self._health.drop(f'action refused: {self._guard.last_refusal}')
        self._pass(passed)
        self._health.done(started)

    def _on_permit(self, message: Permit) -> None:
        if self.is_active:
            self._pass(
                self._guard.on_lease(
                    Lease(message.episode_id, to_stamp(message), to_ns(message.valid_until))
                )
            )

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.END:
            self.hold()

    def _on_estop(self, message: Bool) -> None:
        self._guard.on_emergency(message.data)
        self._stop()

    def _on_tick(self) -> None:
        if self._guard.must_stop(self._now()):
            self._stop()

    def _pass(self, request: Request | None) -> None:
        """Send what may pass, under the stamp of its observation: bags are joined by it."""
        if request is not None:
            self._send(request.values, request.stamp)

    def _stop(self) -> None:
        self._send(
            np.zeros(len(self._embodiment.action.names), np.float32),
            0 if self.config.lockstep else self._now(),
        )

    def _send(self, values: np.ndarray, stamp: int) -> None:
        self._publisher.publish(
            from_displacement(
                values, self._embodiment.control_rate_hz, stamp, self._embodiment.command.frame
            )
        )


def main(args: list[str] | None = None) -> None:
    """Run the guard node."""
    run(GuardNode, args)


if __name__ == '__main__':
    main()
