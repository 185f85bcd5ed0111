"""The fleet node: gives every robot its next episode."""

from __future__ import annotations

from functools import partial
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.ros_lifecycle import run
from efm_core.ros_params import declare
from efm_interfaces.action import RunEpisode
from efm_interfaces.msg import TrainerStatus
from efm_supervisor.config import FleetConfig
from efm_supervisor.fleet import Fleet, TrainerProgress
from efm_supervisor.results import Results
from efm_supervisor.supervisor import Goal
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.node import Node


class FleetNode(Node):
    """
    Keep a fleet at work until the episodes asked for are done, then end.

    Calls every robot's ``run_episode``; subscribes ``trainer_status``; writes one JSON line per
    episode. Ends with exit code 1 when only faults come back or nothing moves on.
    """

    def __init__(self):
        """Declare the parameters and look for the robots."""
        super().__init__('fleet')
        self.config = declare(self, FleetConfig)
        self._results = Results(self.config.results)
        self._fleet = Fleet(self.config, self._results.next_index)
        robots = [name.strip('/ ') for name in self.config.robots.split(',')]
        self._clients_of = {
            robot: ActionClient(self, RunEpisode, f'/{robot}/{topics.RUN_EPISODE}')
            for robot in robots
        }
        self._started = self._moved_at = time.monotonic()
        self._is_up = False
        self.is_done = False
        self.exit_code = 0
        if self.config.wait_for_trainer:
            ros_topics.subscription(self, topics.TRAINER_STATUS, self._on_trainer)
        self.create_timer(0.2, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_tick(self) -> None:
        """Wait for everybody, then hand out work; give up when nothing moves."""
        if not self._is_up:
            self._wait_for_robots()
        elif time.monotonic() - self._moved_at > self.config.stall_timeout_s:
            self._give_up(f'nothing moved on for {self.config.stall_timeout_s} s')
        else:
            self._hand_out()

    def _wait_for_robots(self) -> None:
        absent = [
            robot for robot, client in self._clients_of.items() if not client.server_is_ready()
        ]
        if not absent:
            self._is_up = True
            self._moved_at = time.monotonic()
        elif time.monotonic() - self._started > self.config.ready_timeout_s:
            self._give_up(f'no {topics.RUN_EPISODE} from {", ".join(absent)}')

    def _on_trainer(self, status: TrainerStatus) -> None:
        self._fleet.on_trainer(TrainerProgress(status.version, status.episodes))
        self._moved_at = time.monotonic()
        if self._is_up:
            self._hand_out()

    def _hand_out(self) -> None:
        for robot, client in self._clients_of.items():
            goal = self._fleet.next_goal(robot)
            if goal is not None:
                self._send(robot, client, goal)
        if self._fleet.has_failed:
            self._give_up(f'{self._fleet.faults_in_a_row} faults in a row')
        self.is_done = self.is_done or self._fleet.is_done

    def _send(self, robot: str, client: ActionClient, goal: Goal) -> None:
        request = RunEpisode.Goal(
            episode_id=goal.episode_id,
            index=goal.index,
            kind=goal.kind,
            seed=goal.seed,
            max_steps=goal.max_steps,
            policy_version=goal.policy_version,
        )
        client.send_goal_async(request).add_done_callback(partial(self._on_accepted, robot, goal))

    def _on_accepted(self, robot: str, goal: Goal, future: Any) -> None:
        handle = future.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(partial(self._on_result, robot, goal))
        else:
            self._fleet.on_refusal(robot, goal.index)

    def _on_result(self, robot: str, goal: Goal, future: Any) -> None:
        result = future.result().result
        fields = result.outcome.get_fields_and_field_types()
        outcome = {name: getattr(result.outcome, name) for name in fields if name != 'header'}
        self._count(robot, goal, outcome, result.recording)
        self._hand_out()

    def _count(self, robot: str, goal: Goal, outcome: dict, recording: str) -> None:
        self._moved_at = time.monotonic()
        self._fleet.on_result(
            robot, goal.index, outcome['outcome'], outcome['termination'], bool(recording)
        )
        if outcome['termination'] == 'fault':
            self.get_logger().warning(f'{robot}: episode {goal.index} broke: {outcome["detail"]}')
        self._results.append(robot, goal.index, outcome, recording)

    def _give_up(self, reason: str) -> None:
        self.get_logger().fatal(reason)
        self.is_done = True
        self.exit_code = 1


def main(args: list[str] | None = None) -> None:
    """Run the fleet node."""
    run(FleetNode, args)


if __name__ == '__main__':
    main()
