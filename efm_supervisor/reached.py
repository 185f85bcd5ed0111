"""
Whether an episode reached its goal, by simulator truth: for progress and results files only.

Neither the rules of `efm_supervisor/fleet.py` nor the supervisor nor the trainer receive it.
"""

from __future__ import annotations

from collections import deque


class ReachedLog:
    """
    Notes at which stamps of one robot's world the goal was reached. Stamps are in ns.

    Messages of several topics arrive in any order. So an episode is looked up by its first and
    last stamp, after its end.
    """

    def __init__(self) -> None:
        self._successes: deque[int] = deque(maxlen=10_000)
        self._newest = -1
        self._episode_id = ''
        self._start = 0

    def on_start(self, episode_id: str, stamp: int) -> None:
        """Note the first observation of an episode."""
        self._episode_id = episode_id
        self._start = stamp

    def on_state(self, stamp: int, success: bool) -> None:
        """Note whether the goal is reached in the state of one observation."""
        self._newest = max(self._newest, stamp)
        if success:
            self._successes.append(stamp)

    def reached(self, episode_id: str, last: int) -> bool | None:
        """
        Return whether the goal was reached at some observation of an episode that has ended.

        :param last: stamp of its last observation.
        :return: None where the truth is unknown: a real robot, or a state that has not arrived.
        """
        if episode_id != self._episode_id:
            return None
        if any(self._start <= stamp <= last for stamp in self._successes):
            return True
        return False if self._newest >= last else None
