"""The fleet's client of one robot's ``run_episode``; it notices a supervisor that has died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY
from functools import partial

from action_msgs.msg import GoalStatus
from efm_core import topics
from efm_core.episode import EpisodeGoal
from efm_core.ros_messages import from_goal
from efm_interfaces.action import RunEpisode
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.task import Future

QUESTION_PERIOD_S = 2.0  # between two questions for the result of one episode
ANSWER_TIMEOUT_S = 30.0  # for the answer to a goal; long enough for a machine that is busy


@dataclass(eq=False)
class Assignment:
    """An episode that a robot was asked for; ``handle`` is None until it has accepted."""

    goal: EpisodeGoal
    _: KW_ONLY
    asked_at: float
    handle: ClientGoalHandle | None = None


class RobotClient:
    """
    Asks one robot for one episode at a time.

    A supervisor that was killed and has come back does not know the goal. It says so when it is
    asked for the result again. Times are in s of a clock that never stops.

    :param on_result: called with the goal and the result.
    :param on_refusal: called with a goal that the robot does not accept.
    :param on_loss: called with a goal whose result will never come, and the reason.
    """

    def __init__(
        self,
        node: Node,
        robot: str,
        *,
        on_result: Callable[[EpisodeGoal, RunEpisode.Result], None],
        on_refusal: Callable[[EpisodeGoal], None],
        on_loss: Callable[[EpisodeGoal, str], None],
    ):
        self._client = ActionClient(node, RunEpisode, f'/{robot}/{topics.RUN_EPISODE}')
        self._on_result = on_result
        self._on_refusal = on_refusal
        self._on_loss = on_loss
        self._current: Assignment | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the robot offers ``run_episode``."""
        return self._client.server_is_ready()

    def ask(self, goal: EpisodeGoal, now: float) -> None:
        """Ask for an episode."""
        asked = Assignment(goal, asked_at=now)
        self._current = asked
        reply = self._client.send_goal_async(from_goal(goal))
        reply.add_done_callback(partial(self._on_answer, asked))

    def check(self, now: float) -> None:
        """Ask for the result again if the last question is old; give up a lost episode."""
        asked = self._current
        if asked is None:
            return
        if not self.is_ready:
            self._lose(asked, 'its supervisor has gone')
        elif asked.handle is None and now - asked.asked_at > ANSWER_TIMEOUT_S:
            self._lose(asked, f'its supervisor did not answer for {ANSWER_TIMEOUT_S} s')
        elif asked.handle is not None and now - asked.asked_at > QUESTION_PERIOD_S:
            asked.asked_at = now
            self._ask_for_result(asked)

    def _ask_for_result(self, asked: Assignment) -> None:
        assert asked.handle is not None
        answer = asked.handle.get_result_async()
        answer.add_done_callback(partial(self._on_status, asked))

    def _on_answer(self, asked: Assignment, future: Future) -> None:
        handle = future.result()
        if asked is not self._current:  # given up already
            if handle.accepted:
                handle.cancel_goal_async()
        elif handle.accepted:
            asked.handle = handle
            self._ask_for_result(asked)
        else:
            self._current = None
            self._on_refusal(asked.goal)

    def _on_status(self, asked: Assignment, future: Future) -> None:
        if asked is not self._current:
            return
        answer = future.result()
        if answer.status == GoalStatus.STATUS_UNKNOWN:
            self._lose(asked, 'its supervisor was started again')
            return
        self._current = None
        self._on_result(asked.goal, answer.result)

    def _lose(self, asked: Assignment, reason: str) -> None:
        self._current = None
        self._on_loss(asked.goal, reason)
