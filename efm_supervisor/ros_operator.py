"""The services with which a person directs the supervisor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from efm_core import topics
from efm_core.messages import to_ns
from efm_interfaces.srv import LabelEpisode
from efm_supervisor.commands import SupervisorCommand
from efm_supervisor.ros_episode_topics import Execute
from efm_supervisor.supervisor import Supervisor
from rclpy.node import Node
from std_srvs.srv import Trigger


class OperatorServices:
    """
    Serves ``label_episode``, ``pause``, ``resume``, ``take_over`` and ``hand_back``.

    :param execute: called with the commands that follow.
    """

    def __init__(self, node: Node, *, supervisor: Supervisor, execute: Execute):
        self._supervisor = supervisor
        self._execute = execute
        node.create_service(LabelEpisode, topics.LABEL_EPISODE, self._on_label)
        for name, event in (
            (topics.PAUSE, supervisor.pause),
            (topics.RESUME, supervisor.resume),
            (topics.TAKE_OVER, supervisor.take_over),
            (topics.HAND_BACK, supervisor.resume),
        ):
            node.create_service(Trigger, name, partial(self._on_trigger, event))

    def _on_label(
        self, request: LabelEpisode.Request, response: LabelEpisode.Response
    ) -> LabelEpisode.Response:
        stamp = to_ns(request.stamp)
        try:
            self._execute(self._supervisor.on_label(request.episode_id, request.outcome, stamp))
            response.success = True
        except ValueError as error:
            response.message = str(error)
        return response

    def _on_trigger(
        self,
        event: Callable[[], list[SupervisorCommand]],
        request: Trigger.Request,
        response: Trigger.Response,
    ) -> Trigger.Response:
        self._execute(event())
        response.success = True
        return response
