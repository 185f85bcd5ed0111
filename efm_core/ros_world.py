"""The base of every node that simulates a world for planar commands."""

from __future__ import annotations

from efm_core import ros_topics, topics
from efm_core.messages import to_displacement, to_stamp
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode
from efm_core.ros_messages import from_ns
from efm_interfaces.srv import ResetWorld
from geometry_msgs.msg import TwistStamped
import numpy as np


class ResetError(RuntimeError):
    """The world cannot make a scene; the text becomes the message of the response."""


class WorldServerNode(ManagedNode):
    """
    Serves ``reset_world`` and subscribes ``command``, for a world that chooses its own tasks.

    A derived class calls `serve_world` from `build` and implements `reset_world` and
    `on_displacement`.
    """

    def serve_world(self, rate_hz: float) -> None:
        """Create the service and the subscription; ``rate_hz``: control rate [Hz]."""
        self._rate_hz = rate_hz
        self.diagnostics = Diagnostics(self)
        ros_topics.subscription(self, topics.COMMAND, self._on_command)
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

    def on_displacement(self, displacement: np.ndarray, stamp: int) -> None:
        """
        Execute a command.

        :param displacement: for one control period, ``(2,)`` float32 [m], finite.
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

    def _on_command(self, message: TwistStamped) -> None:
        if not self.accepts_commands:
            return
        displacement = to_displacement(message, self._rate_hz)
        if np.isfinite(displacement).all():
            self.on_displacement(displacement, to_stamp(message))
        else:
            self.diagnostics.count_dropped(
                f'command: expected finite numbers [m/s], got {displacement}'
            )
