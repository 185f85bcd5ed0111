"""The fleet's client of one robot, and a supervisor that dies."""

from __future__ import annotations

import time

from efm_core import topics
from efm_core.episode import EpisodeGoal
from efm_interfaces.action import RunEpisode
from efm_supervisor import ros_robot_client
from efm_supervisor.ros_robot_client import RobotClient
import pytest
from rclpy.action import ActionServer, GoalResponse

GOAL = EpisodeGoal('practice-000003', 3)


class Robot:
    """
    A supervisor that never ends an episode, and the fleet's client of it.

    :ivar heard: what the client reported.
    """

    def __init__(self, stage):
        self.stage = stage
        self.heard = []
        self.accepts = GoalResponse.ACCEPT
        self.server = self.offer()
        self.client = RobotClient(
            stage.peer,
            stage.namespace.strip('/'),
            on_result=lambda goal, result: self.heard.append(('result', goal.index)),
            on_refusal=lambda goal: self.heard.append(('refusal', goal.index)),
            on_loss=lambda goal, reason: self.heard.append((reason, goal.index)),
        )
        stage.spin_until(lambda: self.client.is_ready, 'run_episode')

    def offer(self):
        return ActionServer(
            self.stage.peer,
            RunEpisode,
            topics.RUN_EPISODE,
            execute_callback=self.execute,
            goal_callback=lambda request: self.accepts,
            handle_accepted_callback=self.hold,
        )

    def hold(self, handle):
        self.handle = handle

    def execute(self, handle):
        handle.succeed()
        return RunEpisode.Result()

    def ask(self):
        self.handle = None
        self.client.ask(GOAL, time.monotonic())

    def wait(self):
        def told():
            self.client.check(time.monotonic())
            return self.heard

        self.stage.spin_until(told, 'news of the episode')
        return self.heard


@pytest.fixture
def robot(stage, monkeypatch):
    monkeypatch.setattr(ros_robot_client, 'QUESTION_PERIOD_S', 0.05)
    return Robot(stage)


def test_a_supervisor_that_came_back_does_not_know_the_episode(robot):
    robot.ask()
    robot.stage.spin_until(lambda: robot.client._current.handle, 'the acceptance')
    for _ in range(3):
        robot.client.check(time.monotonic())
    robot.server.destroy()
    robot.server = robot.offer()
    robot.stage.spin_until(lambda: robot.client.is_ready, 'the new supervisor')
    assert robot.wait()[0][0] in ('its supervisor was started again', 'its supervisor has gone')
    assert len(robot.heard) == 1


def test_a_supervisor_that_has_gone_is_noticed(robot):
    robot.ask()
    robot.stage.spin_until(lambda: robot.handle, 'the goal')
    robot.server.destroy()
    assert robot.wait() == [('its supervisor has gone', 3)]


def test_a_goal_that_nobody_answers_is_given_up(robot, monkeypatch):
    monkeypatch.setattr(ros_robot_client, 'ANSWER_TIMEOUT_S', -1.0)
    robot.ask()
    robot.client.check(time.monotonic())
    assert robot.heard == [('its supervisor did not answer for -1.0 s', 3)]


def test_a_long_episode_is_asked_for_often_and_reported_once(robot):
    robot.ask()
    robot.stage.spin_until(lambda: robot.client._current.handle, 'the acceptance')
    accepted = robot.client._current.handle
    for now in range(5):
        robot.client.check(time.monotonic() + now)
    robot.handle.execute()
    assert robot.wait() == [('result', 3)]
    # Answers come in the order of the questions: all earlier ones have come before this one.
    robot.stage.wait(accepted.get_result_async())
    assert robot.heard == [('result', 3)]


def test_a_refusal_is_reported(robot):
    robot.accepts = GoalResponse.REJECT
    robot.ask()
    assert robot.wait() == [('refusal', 3)]
