"""The action ``run_episode``: one goal at a time, and its result when the episode is over."""

from __future__ import annotations

from collections.abc import Callable

from efm_core import topics
from efm_core.episode import EpisodeGoal
from efm_core.messages import to_goal
from efm_interfaces.action import RunEpisode
from efm_interfaces.msg import EpisodeOutcome
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node


class EpisodeServer:
    """
    Serves ``run_episode`` on a node.

    :param may_begin: returns whether an episode may begin now; otherwise the goal is rejected.
    :param on_goal: called with each accepted goal.
    :param on_cancel: called when the client cancels the goal.
    """

    def __init__(
        self,
        node: Node,
        *,
        may_begin: Callable[[], bool],
        on_goal: Callable[[EpisodeGoal], None],
        on_cancel: Callable[[], None],
    ):
        self._node = node
        self._may_begin = may_begin
        self._begin = on_goal
        self._cancel = on_cancel
        self._server: ActionServer | None = None
        self._handle: ServerGoalHandle | None = None
        self._result = RunEpisode.Result()

    @property
    def is_offered(self) -> bool:
        """Whether clients can see the action."""
        return self._server is not None

    def offer(self) -> None:
        """Create the action server."""
        self._server = ActionServer(
            self._node,
            RunEpisode,
            topics.RUN_EPISODE,
            execute_callback=self._on_execute,
            handle_accepted_callback=self._on_accepted,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    def withdraw(self) -> None:
        """Destroy the action server."""
        if self._server is not None:
            self._server.destroy()
            self._server = None

    def report(self, outcome: EpisodeOutcome, recording: str) -> None:
        """
        Return the result of the current goal, if there is one.

        :param recording: folder of the bag; '' without one.
        """
        if self._handle is None:
            return
        self._result = RunEpisode.Result(outcome=outcome, recording=recording)
        handle, self._handle = self._handle, None
        handle.execute()

    def _on_goal(self, request: RunEpisode.Goal) -> GoalResponse:
        is_free = self._handle is None and self._may_begin()
        return GoalResponse.ACCEPT if is_free else GoalResponse.REJECT

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        self._cancel()
        return CancelResponse.ACCEPT

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        """Begin the episode. rclpy executes the goal only in `report`, so that nothing polls."""
        self._handle = handle
        self._begin(to_goal(handle.request))

    def _on_execute(self, handle: ServerGoalHandle) -> RunEpisode.Result:
        handle.succeed()
        return self._result
