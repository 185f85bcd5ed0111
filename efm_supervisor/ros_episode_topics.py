"""The topics of an episode, as events of the supervisor's state machine."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_core.messages import to_chunk_steps, to_period, to_stamp
from efm_interfaces.msg import Action, Recording, StepsToGo
from efm_supervisor.commands import SupervisorCommand
from efm_supervisor.events import ActionEvent, PredictionEvent, RecordingResult
from efm_supervisor.supervisor import Supervisor
from rclpy.node import Node
from std_msgs.msg import Bool

Execute = Callable[[list[SupervisorCommand]], None]


class EpisodeTopics:
    """
    Subscribes what happens in an episode, and hands it to the state machine.

    :param execute: called with the commands that follow.
    """

    def __init__(
        self,
        node: Node,
        robot: Embodiment,
        *,
        lockstep: bool,
        supervisor: Supervisor,
        execute: Execute,
    ):
        self._node = node
        self._lockstep = lockstep
        self._supervisor = supervisor
        self._execute = execute
        ros_topics.subscription(node, topics.ACTION, self._on_action)
        ros_topics.subscription(node, topics.STEPS_TO_GO, self._on_steps_to_go)
        ros_topics.subscription(node, topics.RECORDING, self._on_recording)
        ros_topics.estop_subscriptions(node, self._on_estop)
        ros_topics.subscription(node, topics.ESTOP_RESET, self._on_estop_reset)
        if not lockstep:
            sent = topics.executed_topic(robot.command)
            ros_topics.subscription(node, sent, self._on_command)

    def _on_action(self, message: Action) -> None:
        stamp = to_stamp(message)
        age_ns = 0 if self._lockstep else int(self._node.get_clock().now().nanoseconds) - stamp
        self._execute(
            self._supervisor.on_action(
                ActionEvent(
                    message.episode_id,
                    stamp,
                    policy_version=message.policy_version,
                    chunk_steps=to_chunk_steps(message),
                    period=to_period(message),
                    age_s=age_ns / 1e9,
                ),
                time.monotonic(),
            )
        )

    def _on_command(self, message: Any) -> None:
        self._supervisor.on_command(to_stamp(message), time.monotonic())

    def _on_steps_to_go(self, message: StepsToGo) -> None:
        self._execute(
            self._supervisor.on_steps_to_go(
                PredictionEvent(
                    message.episode_id,
                    to_stamp(message),
                    steps_to_go=message.steps_to_go,
                    success=message.success,
                    reward_version=message.reward_version,
                ),
                time.monotonic(),
            )
        )

    def _on_recording(self, message: Recording) -> None:
        self._execute(
            self._supervisor.on_recorded(
                RecordingResult(
                    message.episode_id,
                    success=message.success,
                    uri=message.uri,
                    detail=message.detail,
                )
            )
        )

    def _on_estop(self, message: Bool) -> None:
        if message.data:  # only the guard's reset releases it: another switch may say false
            self._execute(self._supervisor.on_emergency(True))

    def _on_estop_reset(self, message: Bool) -> None:
        if message.data:
            self._execute(self._supervisor.on_emergency(False))
