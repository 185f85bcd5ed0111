"""The fleet node: it assigns episodes to robots."""

from __future__ import annotations

from functools import partial
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.episode import EpisodeEnding, EpisodeGoal, Outcome, Termination
from efm_core.messages import to_fields
from efm_core.ros_lifecycle import run
from efm_core.ros_messages import from_outcome
from efm_core.ros_params import declare
from efm_interfaces.action import RunEpisode
from efm_interfaces.msg import TrainerStatus
from efm_supervisor.config import FleetConfig
from efm_supervisor.fleet import Fleet, TrainerProgress
from efm_supervisor.results import ResultsFile
from efm_supervisor.ros_reached import ReachedSubscriber
from efm_supervisor.ros_robot_client import RobotClient
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

TICK_PERIOD_S = 0.2


class FleetNode(Node):
    """
    Assigns episodes to a fleet of robots until all requested episodes are finished; then it exits.

    Calls ``run_episode`` of each robot; subscribes ``trainer_status``, and ``world_state`` and
    ``episode_event`` of each robot; appends one JSON line per episode to the results file.
    Simulator truth goes to that file only. The exit code is 1 after too many faults in a row, or
    when nothing makes progress.

    :ivar is_done: the process may exit.
    """

    def __init__(self) -> None:
        super().__init__('fleet')
        self.config = declare(self, FleetConfig)
        self._results = ResultsFile(self.config.results)
        finished = self._results.finished(self.config) if self.config.resume else None
        self._fleet = Fleet(self.config, self._results.next_index, finished=finished)
        robots = [name.strip('/ ') for name in self.config.robots.split(',')]
        self._clients_of = {robot: self._make_client(robot) for robot in robots}
        self._truth_of = {robot: ReachedSubscriber(self, robot) for robot in robots}
        self._progressed_at = time.monotonic()
        self._are_robots_ready = False
        self.is_done = False
        self.exit_code = 0
        if self.config.wait_for_trainer:
            ros_topics.subscription(self, topics.TRAINER_STATUS, self._on_trainer)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_PERIOD_S, self._on_tick, clock=steady)

    def _make_client(self, robot: str) -> RobotClient:
        return RobotClient(
            self,
            robot,
            on_result=partial(self._on_result, robot),
            on_refusal=partial(self._on_refusal, robot),
            on_loss=partial(self._on_loss, robot),
        )

    def _on_tick(self) -> None:
        """Wait for all robots, then assign episodes; give up when nothing makes progress."""
        for client in self._clients_of.values():
            client.check(time.monotonic())
        if not self._are_robots_ready:
            self._wait_for_robots()
        elif time.monotonic() - self._progressed_at > self.config.stall_timeout_s:
            self._give_up(f'no progress for {self.config.stall_timeout_s} s')
        else:
            self._assign()

    def _wait_for_robots(self) -> None:
        absent = [robot for robot, client in self._clients_of.items() if not client.is_ready]
        if not absent:
            self._are_robots_ready = True
            self._progressed_at = time.monotonic()
        elif time.monotonic() - self._progressed_at > self.config.ready_timeout_s:
            self._give_up(f'no {topics.RUN_EPISODE} from {", ".join(absent)}')

    def _on_trainer(self, status: TrainerStatus) -> None:
        self._fleet.on_trainer(TrainerProgress(status.version, status.episodes))
        if self._are_robots_ready:
            self._progressed_at = time.monotonic()
            self._assign()

    def _assign(self) -> None:
        """Send the next goal to every robot that is free."""
        for robot, client in self._clients_of.items():
            now = time.monotonic()
            goal = self._fleet.next_goal(robot, now) if client.is_ready else None
            if goal is not None:
                client.ask(goal, now)
        if self._fleet.has_failed:
            self._give_up(f'{self._fleet.faults_in_a_row} faults in a row')
        self.is_done = self.is_done or self._fleet.is_done

    def _on_result(self, robot: str, goal: EpisodeGoal, result: RunEpisode.Result) -> None:
        reached = self._truth_of[robot].reached(result.outcome)
        fields = {**to_fields(result.outcome), 'reached': reached}
        self._count(robot, goal, fields, result.recording)
        self._assign()

    def _on_refusal(self, robot: str, goal: EpisodeGoal) -> None:
        self._fleet.on_refusal(robot, goal.index)
        self._progressed_at = time.monotonic()  # a person who paused it has all the time
        text = f'{robot} begins no episode: it is paused, or a stop is set'
        self.get_logger().info(text, throttle_duration_sec=10.0, skip_first=True)

    def _on_loss(self, robot: str, goal: EpisodeGoal, reason: str) -> None:
        ending = EpisodeEnding(Outcome.UNLABELLED, Termination.FAULT, detail=reason)
        fields = {**to_fields(from_outcome(goal, ending)), 'reached': None}
        self._count(robot, goal, fields, '')
        self._assign()

    def _count(
        self, robot: str, goal: EpisodeGoal, outcome: dict[str, Any], recording: str
    ) -> None:
        self._progressed_at = time.monotonic()
        termination = outcome['termination']
        self._fleet.on_result(
            robot,
            goal.index,
            outcome=outcome['outcome'],
            termination=termination,
            recorded=bool(recording),
            now=self._progressed_at,
        )
        if termination == Termination.FAULT.value:
            text = f'{robot}: fault in episode {goal.index}: {outcome["detail"]}'
            self.get_logger().warning(text)
        self._results.append(robot, goal.index, {**outcome, 'seed': goal.seed}, recording)

    def _give_up(self, reason: str) -> None:
        self.get_logger().fatal(reason)
        self.is_done = True
        self.exit_code = 1


def main(args: list[str] | None = None) -> None:
    """Run the fleet node."""
    run(FleetNode, args)


if __name__ == '__main__':
    main()
