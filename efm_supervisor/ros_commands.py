"""The outgoing half of the supervisor node: it publishes what the state machine commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from efm_core import ros_topics, topics
from efm_core.episode import EpisodeGoal
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_messages import from_event, from_outcome, from_permit
from efm_interfaces.msg import EpisodeEvent
from efm_interfaces.srv import ResetWorld
from efm_supervisor.commands import (
    AnnounceEnd,
    AnnounceStart,
    GrantPermit,
    ReportResult,
    RequestReset,
    SupervisorCommand,
)
from efm_supervisor.config import SupervisorConfig
from efm_supervisor.ros_episode_server import EpisodeServer
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String


class CommandExecutor:
    """
    Executes the commands of the state machine on a node.

    :param embodiment_hash: goes into every event.
    :param episodes: returns the results to the client of ``run_episode``.
    :param on_reset: called with the ``reset_id`` and the future reply of ``reset_world``.
    """

    def __init__(
        self,
        node: Node,
        config: SupervisorConfig,
        *,
        embodiment_hash: str,
        episodes: EpisodeServer,
        on_reset: Callable[[int, Future], None],
    ):
        self._node = node
        self._config = config
        self._embodiment_hash = embodiment_hash
        self._episodes = episodes
        self._on_reset = on_reset
        self._diagnostics = Diagnostics(node)
        self._events = ros_topics.publisher(node, topics.EPISODE_EVENT)
        self._outcomes = ros_topics.publisher(node, topics.OUTCOME)
        self._permits = ros_topics.publisher(node, topics.PERMIT)
        self._instructions = ros_topics.publisher(node, topics.INSTRUCTION)
        self._world = node.create_client(ResetWorld, topics.RESET_WORLD)
        self._handlers: dict[type, Callable[[Any], None]] = {
            RequestReset: self._request_reset,
            AnnounceStart: self._announce_start,
            GrantPermit: self._grant_permit,
            AnnounceEnd: self._announce_end,
            ReportResult: self._report_result,
        }

    @property
    def can_reset(self) -> bool:
        """Whether a world offers ``reset_world``."""
        return self._world.service_is_ready()

    def execute(self, commands: list[SupervisorCommand]) -> None:
        """Execute commands, in order."""
        for command in commands:
            self._handlers[type(command)](command)

    def _request_reset(self, command: RequestReset) -> None:
        goal = command.goal
        request = ResetWorld.Request(seed=goal.seed, instruction=goal.instruction)
        reply = self._world.call_async(request)
        reply.add_done_callback(partial(self._on_reset, command.reset_id))

    def _announce_start(self, command: AnnounceStart) -> None:
        self._instructions.publish(String(data=command.goal.instruction))
        self._publish_event(command.goal, EpisodeEvent.START, command.stamp)

    def _grant_permit(self, command: GrantPermit) -> None:
        lockstep = self._config.lockstep
        duration = int(1e9 * self._config.permit_duration_s)
        until = 0 if lockstep else self._node.get_clock().now().nanoseconds + duration
        self._permits.publish(
            from_permit(command.episode_id, command.stamp, lockstep=lockstep, valid_until=until)
        )

    def _announce_end(self, command: AnnounceEnd) -> None:
        """Publish END, which stops policy and guard, then the outcome."""
        goal = command.goal
        ending = command.ending
        self._publish_event(goal, EpisodeEvent.END, ending.stamp)
        self._outcomes.publish(from_outcome(goal, ending))
        self._diagnostics.counts[ending.termination.value] += 1
        self._node.get_logger().info(
            f'{goal.episode_id}: {ending.outcome.value} ({ending.termination.value}), '
            f'{ending.steps} steps, policy {ending.policy_version}, "{goal.instruction}" '
            f'{ending.detail}'
        )

    def _report_result(self, command: ReportResult) -> None:
        self._episodes.report(from_outcome(command.goal, command.ending), command.recording)

    def _publish_event(self, goal: EpisodeGoal, event: int, stamp: int) -> None:
        self._events.publish(from_event(goal, event, stamp, self._embodiment_hash))
