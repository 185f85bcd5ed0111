"""The robot behind the guard: each decision becomes a command or a stop, and is reported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from efm_core.ros_diagnostics import Diagnostics
from efm_guard.chunk_executor import ActionRequest
from efm_guard.guard import Guard, MotionPermit
from efm_guard.moment import Moment
from efm_guard.ros_robot import Robot
from rclpy.node import Node


class GuardedRobot:
    """
    Passes each event to the guard, sends the action that may pass, and stops the robot when due.

    Diagnostics count what is refused and skipped, and name the guard's fault.
    """

    def __init__(
        self, node: Node, *, guard: Guard, robot: Robot, diagnostics: Diagnostics
    ) -> None:
        self._node = node
        self._guard = guard
        self._robot = robot
        self._diagnostics = diagnostics

    def on_action(self, request: ActionRequest, now: Moment) -> None:
        """Send the action, or its step that is due, if it may pass."""
        self._send(self._ask(partial(self._guard.on_action, request, now)), now)
        self.stop_if_due(now)

    def on_permit(self, permit: MotionPermit, now: Moment) -> None:
        """Take the permit; send the action that waited for it."""
        self._send(self._ask(partial(self._guard.on_permit, permit, now), 'permit'), now)
        self.stop_if_due(now)

    def on_time(self, now: Moment) -> None:
        """Send the chunk step that is due."""
        self._send(self._ask(partial(self._guard.on_time, now)), now)

    def on_world_time(self, stamp: int, now: Moment) -> None:
        """Send the chunk step for the time of the world [ns], which waits for it."""
        self._send(self._guard.on_time(now._replace(ros=stamp)), now)

    def on_episode(self, episode_id: str, *, is_over: bool, now: Moment) -> None:
        """Begin an episode, or end it with a stop."""
        if is_over:
            self._guard.end(episode_id)
            self._robot.stop(now)
        else:
            self._guard.begin(episode_id)
            self._report_fault()

    def on_emergency(self, now: Moment) -> None:
        """Stop at once, unless the emergency stop is set: each sample may arrive several times."""
        if not self._guard.emergency:
            self._guard.on_emergency()
            self._robot.stop(now)

    def stop_if_due(self, now: Moment) -> None:
        """Stop the robot when its last command outlived its right, or when time ran back."""
        if self._guard.must_stop(now):
            self._robot.stop(now)
        self._report_fault()

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

    def _report_fault(self) -> None:
        """Report a new fault, or its end, at once: the supervisor ends the episode by it."""
        fault = self._guard.fault
        is_new = bool(fault) != bool(self._diagnostics.fault)
        self._diagnostics.fault = fault
        if is_new:
            if fault:
                self._node.get_logger().error(fault)
            self._diagnostics.report()
