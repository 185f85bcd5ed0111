"""The supervisor node: it resets the world, starts and ends episodes, and permits motion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.episode import EpisodeEnding, EpisodeGoal, Outcome, Termination
from efm_core.messages import to_chunk_steps, to_ns, to_stamp
from efm_core.ros_lifecycle import ManagedNode, run
from efm_interfaces.msg import Action, Recording, StepsToGo
from efm_interfaces.srv import LabelEpisode
from efm_supervisor.commands import ReportResult, SupervisorCommand
from efm_supervisor.config import SupervisorConfig
from efm_supervisor.ros_commands import CommandExecutor
from efm_supervisor.ros_episode_server import EpisodeServer
from efm_supervisor.rules import SupervisorRules
from efm_supervisor.supervisor import Supervisor
from rclpy.clock import Clock, ClockType
from rclpy.task import Future
from std_msgs.msg import Bool
from std_srvs.srv import Trigger


class SupervisorNode(ManagedNode):
    """
    Runs one episode at a time.

    Serves ``run_episode``, ``label_episode``, ``pause``, ``resume``, ``take_over``, ``hand_back``;
    calls ``reset_world``; subscribes ``action``, ``steps_to_go``, ``recording``, ``estop``, and in
    real time what the guard has executed;
    publishes ``episode_event``, ``outcome``, ``permit``, ``instruction``.
    """

    config_type = SupervisorConfig
    config: SupervisorConfig

    def __init__(self, **kwargs: Any):
        super().__init__('supervisor', **kwargs)

    def build(self) -> None:
        """Create the state machine and connect it."""
        self._embodiment = load_embodiment(self.config.embodiment)
        self._rules = SupervisorRules.of(self.config, self._embodiment)
        self._supervisor = Supervisor(self._rules)
        self._asked_ns = 0
        self._episodes = EpisodeServer(
            self,
            may_begin=lambda: self.is_active and not self._supervisor.obstacle,
            on_goal=self._on_goal,
            on_cancel=lambda: self._stop('cancelled'),
        )
        self._commands = CommandExecutor(
            self,
            self.config,
            embodiment_hash=self._embodiment.hash,
            episodes=self._episodes,
            on_reset=self._on_reset,
        )
        self._connect_topics()
        self._connect_services()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / self.config.tick_rate_hz, self._on_tick, clock=steady)

    def dismantle(self) -> None:
        """Withdraw ``run_episode`` too."""
        if hasattr(self, '_episodes'):
            self._episodes.withdraw()
        super().dismantle()

    def hold(self) -> None:
        """End the episode."""
        self._stop('the supervisor was stopped')

    def _connect_topics(self) -> None:
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        ros_topics.subscription(self, topics.STEPS_TO_GO, self._on_steps_to_go)
        ros_topics.subscription(self, topics.RECORDING, self._on_recording)
        ros_topics.subscription(self, topics.ESTOP, self._on_estop)
        if not self.config.lockstep:
            command = self._embodiment.command
            sent = topics.COMMAND if command.is_planar_displacement else topics.EXECUTED
            ros_topics.subscription(self, sent, self._on_command)

    def _connect_services(self) -> None:
        self.create_service(LabelEpisode, topics.LABEL_EPISODE, self._on_label)
        for name, event in (
            (topics.PAUSE, self._supervisor.pause),
            (topics.RESUME, self._supervisor.resume),
            (topics.TAKE_OVER, self._supervisor.take_over),
            (topics.HAND_BACK, self._supervisor.resume),
        ):
            self.create_service(Trigger, name, partial(self._on_trigger, event))

    def _missing_peers(self) -> list[str]:
        """Return the topics and services of an episode that no node offers yet."""
        command = topics.command_topic(self._embodiment.command)
        needed = [topics.ACTION, command]
        needed += [topics.STEPS_TO_GO] if self.config.reward_enabled else []
        needed += [topics.RECORDING] if self.config.recorder_enabled else []
        missing = [topic.name for topic in needed if not self.count_publishers(topic.name)]
        missing += [] if self.count_subscribers(command.name) else ['a robot']
        return missing + ([] if self._commands.can_reset else [topics.RESET_WORLD])

    def _offer_episodes(self) -> None:
        """Offer ``run_episode`` once all peers are there, so that no first message is lost."""
        missing = self._missing_peers()
        if not missing:
            self._episodes.offer()
            return
        self.get_logger().info(
            f'waiting for {", ".join(missing)}', throttle_duration_sec=5.0, skip_first=True
        )

    def _on_tick(self) -> None:
        if not self._episodes.is_offered:
            self._offer_episodes()
        self._commands.execute(self._supervisor.tick(time.monotonic()))

    def _on_goal(self, goal: EpisodeGoal) -> None:
        self._asked_ns = self._now()
        try:
            self._commands.execute(self._supervisor.begin(goal, time.monotonic()))
        except ValueError as error:
            self.get_logger().error(str(error))
            ending = EpisodeEnding(Outcome.UNLABELLED, Termination.FAULT, detail=str(error))
            self._commands.execute([ReportResult(goal, ending)])

    def _stop(self, detail: str) -> None:
        self._commands.execute(self._supervisor.stop(Termination.STOPPED, detail))

    def _on_reset(self, reset_id: int, future: Future) -> None:
        reply = future.result()
        objection = self._objection(to_ns(reply.stamp)) if reply.success else ''
        self._commands.execute(
            self._supervisor.on_reset(
                reset_id,
                success=reply.success and not objection,
                instruction=reply.instruction,
                stamp=to_ns(reply.stamp),
                message=objection or reply.message,
                now=time.monotonic(),
            )
        )

    def _objection(self, stamp: int) -> str:
        """Return what is wrong with the stamp of a reset; '' in lockstep."""
        if self.config.lockstep:
            return ''
        try:
            self._rules.check_reset_stamp(stamp, self._asked_ns, self._now())
        except ValueError as error:
            return str(error)
        return ''

    def _on_action(self, message: Action) -> None:
        self._commands.execute(
            self._supervisor.on_action(
                message.episode_id,
                to_stamp(message),
                policy_version=message.policy_version,
                chunk_steps=to_chunk_steps(message),
                age_s=0.0 if self.config.lockstep else self._age_s(to_stamp(message)),
                now=time.monotonic(),
            )
        )

    def _age_s(self, stamp: int) -> float:
        return (self._now() - stamp) / 1e9

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_command(self, message: Any) -> None:
        self._supervisor.on_command(to_stamp(message), time.monotonic())

    def _on_steps_to_go(self, message: StepsToGo) -> None:
        self._commands.execute(
            self._supervisor.on_steps_to_go(
                message.episode_id,
                to_stamp(message),
                steps_to_go=message.steps_to_go,
                success=message.success,
                reward_version=message.reward_version,
                now=time.monotonic(),
            )
        )

    def _on_recording(self, message: Recording) -> None:
        self._commands.execute(
            self._supervisor.on_recorded(
                message.episode_id,
                success=message.success,
                uri=message.uri,
                detail=message.detail,
            )
        )

    def _on_estop(self, message: Bool) -> None:
        self._commands.execute(self._supervisor.on_emergency(message.data))

    def _on_label(
        self, request: LabelEpisode.Request, response: LabelEpisode.Response
    ) -> LabelEpisode.Response:
        stamp = to_ns(request.stamp)
        try:
            self._commands.execute(
                self._supervisor.on_label(request.episode_id, request.outcome, stamp)
            )
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
        self._commands.execute(event())
        response.success = True
        return response


def main(args: list[str] | None = None) -> None:
    """Run the supervisor node."""
    run(SupervisorNode, args)


if __name__ == '__main__':
    main()
