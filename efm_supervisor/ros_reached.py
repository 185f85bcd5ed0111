"""Simulator truth of one robot's episodes, from its topics."""

from __future__ import annotations

from dataclasses import replace

from efm_core import ros_topics, topics
from efm_core.messages import to_stamp
from efm_interfaces.msg import EpisodeEvent, EpisodeOutcome, WorldState
from efm_supervisor.reached import ReachedLog
from rclpy.node import Node


class ReachedSubscriber:
    """Subscribes ``world_state`` and ``episode_event`` of one robot; a real robot has no state."""

    def __init__(self, node: Node, robot: str):
        self._log = ReachedLog()
        callbacks = {topics.WORLD_STATE: self._on_state, topics.EPISODE_EVENT: self._on_event}
        for topic, callback in callbacks.items():
            ros_topics.subscription(node, replace(topic, name=f'/{robot}/{topic.name}'), callback)

    def reached(self, outcome: EpisodeOutcome) -> bool | None:
        """Return whether an episode that has ended reached its goal; None where unknown."""
        return self._log.reached(outcome.episode_id, to_stamp(outcome))

    def _on_state(self, state: WorldState) -> None:
        self._log.on_state(to_stamp(state), state.success)

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.START:
            self._log.on_start(event.episode_id, to_stamp(event))
