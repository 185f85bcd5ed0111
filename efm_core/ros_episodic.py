"""The base of every node that answers the images of an episode."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_core.messages import to_stamp
from efm_core.observation_matcher import ObservationMatcher
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode
from efm_interfaces.msg import EpisodeEvent
from rclpy.publisher import Publisher


class EpisodicNode(ManagedNode):
    """
    Subscribes the embodiment's camera and ``episode_event``, and calls two hooks.

    `on_episode_start` prepares for an episode. `on_observation` answers one image with
    `publish_reply`. A hook raises ValueError when it cannot prepare the episode or cannot use the
    image. The node then publishes no answer and reports the error on ``/diagnostics``.
    """

    def subscribe_episodes(
        self, embodiment: Embodiment, lockstep: bool, every: bool = False
    ) -> None:
        """
        Connect the topics; call it from `build`.

        :param every: answer every image. Otherwise, with chunks, one image a chunk is answered.
        """
        self.embodiment = embodiment
        decision_ns = 0 if every else embodiment.decision_ns
        self.matcher = ObservationMatcher(decision_ns, embodiment.period_ns)
        self.diagnostics = Diagnostics(self)
        self._reply_stamp = 0
        self._replies: list[tuple[Publisher, Any]] = []
        camera = embodiment.cameras[0]
        ros_topics.camera_subscription(self, camera, self._on_image, lockstep)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self.on_event)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """
        Prepare for the episode that ``event`` starts.

        :return: False if the node is not ready; then call `on_event` with ``event`` again later.
        """
        return True

    def on_observation(self, stamp: int, message: Any) -> bool:
        """Answer the image with this stamp [ns]; return False if other input is missing."""
        raise NotImplementedError

    def report_backend(self, runtime: Any) -> None:
        """
        Report where a model runs, and which faster providers did not start.

        :param runtime: an ``efm_model.runtime.Runtime``, which this room may not import.
        """
        self.diagnostics.values['provider'] = runtime.provider
        for reason in runtime.provider_failures:
            self.get_logger().warning(reason)

    def hold(self) -> None:
        """End the episode: the node answers no more images."""
        self.matcher.end()

    def on_event(self, event: EpisodeEvent) -> None:
        """Start or end an episode."""
        self.matcher.end()  # a START may replace the END before it
        if event.event == EpisodeEvent.START and self.is_active:
            self._start(event)

    def _start(self, event: EpisodeEvent) -> None:
        try:
            self.embodiment.check_same(event.embodiment_hash, 'episode_event')
            if not self.on_episode_start(event):
                return
        except ValueError as error:
            self.diagnostics.fault = str(error)
            self.get_logger().error(str(error))
            return
        self.diagnostics.fault = ''
        self._reply_stamp = 0
        for stamp, message in self.matcher.start(event, to_stamp(event)):
            self._admit(stamp, message)

    def _on_image(self, message: Any) -> None:
        if self.is_active:
            self._admit(to_stamp(message), message)

    def _admit(self, stamp: int, message: Any) -> None:
        if self.matcher.admit(stamp, message):
            self.try_observation((stamp, message))
        elif self.matcher.event is not None and stamp == self._reply_stamp:
            for publisher, reply in self._replies:
                publisher.publish(reply)

    def publish_reply(self, publisher: Publisher, message: Any) -> None:
        """
        Publish an answer to the newest image, and again each time the same image arrives.

        A world in lockstep repeats an image that got no command: a subscriber may have joined
        late and missed the answer.
        """
        stamp = to_stamp(message)
        if stamp != self._reply_stamp:
            self._reply_stamp = stamp
            self._replies = []
        self._replies.append((publisher, message))
        publisher.publish(message)

    def try_observation(self, observation: tuple[int, Any] | None) -> None:
        """Answer an observation, if there is one; keep it if other input is missing."""
        if observation is None:
            return
        started = time.monotonic()
        try:
            if self.on_observation(*observation):
                self.diagnostics.count_processed(started)
            else:
                self.matcher.keep(*observation)
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))
