"""The base of every node that simulates a world."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.command import ACTION, SIMULATED
from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.messages import to_displacement, to_stamp, to_values
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode
from efm_core.ros_messages import from_ns
from efm_interfaces.srv import ResetWorld
import numpy as np


class ResetError(RuntimeError):
    """The world cannot make a scene; the text becomes the message of the response."""


class WorldServerNode(ManagedNode):
    """
    Serves ``reset_world`` and subscribes ``command``, for a world that chooses its own tasks.

    A derived class calls `serve_world` from `build` and implements `reset_world` and
    `on_command`.
    """

    def serve_world(self, robot: Embodiment) -> None:
        """
        Create the service and the subscription.

        :raises ValueError: when the robot takes no commands of a simulated world, or planar ones
            with another number of dimensions than two.
        """
        check_simulated(robot)
        self._robot = robot
        self.diagnostics = Diagnostics(self)
        ros_topics.subscription(self, topics.command_topic(robot.command), self._on_command)
        self.create_service(ResetWorld, topics.RESET_WORLD, self._on_reset)

    @property
    def accepts_commands(self) -> bool:
        """Whether commands are read; otherwise they are ignored without a diagnostic."""
        return True

    def reset_world(self, seed: int) -> tuple[str, int]:
        """
        Make the scene of ``seed``; return its instruction and its first stamp [ns].

        :raises ResetError: when the world cannot make the scene.
        """
        raise NotImplementedError

    def on_command(self, values: np.ndarray, stamp: int) -> None:
        """
        Execute a command.

        :param values: for one control period, ``(A,)`` float32, units of the embodiment, finite.
        :param stamp: of the observation that caused the command [ns].
        """
        raise NotImplementedError

    def _on_reset(
        self, request: ResetWorld.Request, response: ResetWorld.Response
    ) -> ResetWorld.Response:
        if request.instruction:
            response.message = 'this world chooses its own instructions; expected an empty one'
            return response
        try:
            response.instruction, stamp = self.reset_world(request.seed)
        except ResetError as error:
            response.message = str(error)
            return response
        response.success = True
        response.stamp = from_ns(stamp)
        return response

    def _on_command(self, message: Any) -> None:
        if not self.accepts_commands:
            return
        try:
            values = self._values(message)
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))
            return
        self.on_command(values, to_stamp(message))

    def _values(self, message: Any) -> np.ndarray:
        """
        Return the values of a command, ``(A,)`` float32.

        :raises ValueError: when their number differs, or one is not finite.
        """
        robot = self._robot
        if robot.command.is_planar_displacement:
            values = to_displacement(message, robot.control_rate_hz)
        else:
            values = to_values(message)
        size = len(robot.action.names)
        fits = values.shape == (size,) and bool(np.isfinite(values).all())
        expect(fits, 'command', f'{size} finite numbers', values)
        return values


def check_simulated(robot: Embodiment) -> None:
    """
    Check that a simulated world can execute a robot's commands.

    :raises ValueError: with the controller that it needs.
    """
    command = robot.command
    names = robot.action.names
    wanted = f'displacement for two dimensions, {SIMULATED} with type {ACTION} for any number'
    fits = command.is_simulated and (not command.is_planar_displacement or len(names) == 2)
    expect(fits, 'command.controller', wanted, f'{command.controller} for {", ".join(names)}')
