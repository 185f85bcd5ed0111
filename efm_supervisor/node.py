"""The supervisor node: it resets the world, starts and ends episodes, and permits motion."""

from __future__ import annotations

import time
from typing import Any

from efm_core import topics
from efm_core.embodiment import load_embodiment
from efm_core.episode import EpisodeEnding, EpisodeGoal, Outcome, Termination
from efm_core.messages import to_ns
from efm_core.ros_lifecycle import ManagedNode, run
from efm_supervisor.commands import ReportResult
from efm_supervisor.config import SupervisorConfig
from efm_supervisor.events import ResetReply
from efm_supervisor.ros_commands import CommandExecutor
from efm_supervisor.ros_episode_server import EpisodeServer
from efm_supervisor.ros_episode_topics import EpisodeTopics
from efm_supervisor.ros_operator import OperatorServices
from efm_supervisor.rules import SupervisorRules
from efm_supervisor.supervisor import Supervisor
from rclpy.clock import Clock, ClockType
from rclpy.task import Future


class SupervisorNode(ManagedNode):
    """
    Runs one episode at a time.

    Serves ``run_episode``, ``label_episode``, ``pause``, ``resume``, ``take_over``, ``hand_back``;
    calls ``reset_world``; subscribes ``action``, ``steps_to_go``, ``recording``, ``estop``,
    ``estop_reset``, and in real time what the guard has executed;
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
        execute = self._commands.execute
        EpisodeTopics(
            self,
            self._embodiment,
            lockstep=self.config.lockstep,
            supervisor=self._supervisor,
            execute=execute,
        )
        OperatorServices(self, supervisor=self._supervisor, execute=execute)
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
                ResetReply(
                    reset_id,
                    success=reply.success and not objection,
                    instruction=reply.instruction,
                    stamp=to_ns(reply.stamp),
                    message=objection or reply.message,
                ),
                time.monotonic(),
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

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main(args: list[str] | None = None) -> None:
    """Run the supervisor node."""
    run(SupervisorNode, args)


if __name__ == '__main__':
    main()
