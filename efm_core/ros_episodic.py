"""A node that answers every picture of an episode, whatever order the messages come in."""

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
    Subscribes the embodiment's camera and ``episode_event``; calls two hooks.

    `on_episode_start` gets ready for an episode; `on_observation` answers one picture with
    `publish_reply`. Either may raise
    ValueError: an episode that cannot be prepared, or a picture that cannot be used, gets no
    answer and is reported on ``/diagnostics``.
    """

    def subscribe_episodes(
        self, embodiment: Embodiment, lockstep: bool, every: bool = False
    ) -> None:
        """
        Connect the topics; call it from `build`.

        :param every: answer every picture, where a policy with chunks answers one a chunk.
        """
        self.embodiment = embodiment
        decision_ns = 0 if every else embodiment.decision_ns
        self.matcher = ObservationMatcher(decision_ns, embodiment.period_ns)
        self.diagnostics = Diagnostics(self)
        self._said_stamp = 0
        self._said = []
        camera = embodiment.cameras[0]
        ros_topics.camera_subscription(self, camera, self._on_image, lockstep)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self.on_event)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """
        Get ready for the episode that ``event`` starts.

        Return False to be asked again later.
        """
        return True

    def on_observation(self, stamp: int, message: Any) -> bool:
        """Answer the picture with this stamp [ns]; return False if something is still missing."""
        raise NotImplementedError

    def report_backend(self, runtime: Any) -> None:
        """Say where a model runs, and why not where that was tried before."""
        self.diagnostics.values['provider'] = runtime.provider
        for reason in runtime.provider_failures:
            self.get_logger().warning(reason)

    def hold(self) -> None:
        """Answer nothing more."""
        self.matcher.end()

    def on_event(self, event: EpisodeEvent) -> None:
        """Begin or end an episode."""
        self.matcher.end()  # topics may lose an END to the START that follows it
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
        self._said_stamp = 0
        for stamp, message in self.matcher.start(event, to_stamp(event)):
            self._on_picture(stamp, message)

    def _on_image(self, message: Any) -> None:
        if self.is_active:
            self._on_picture(to_stamp(message), message)

    def _on_picture(self, stamp: int, message: Any) -> None:
        if self.matcher.admit(stamp, message):
            self.try_observation((stamp, message))
        elif self.matcher.event is not None and stamp == self._said_stamp:
            self._say_again()

    def publish_reply(self, publisher: Publisher, message: Any) -> None:
        """
        Publish an answer to the newest picture.

        It is said again when the picture is shown again: a world in lockstep does so when nothing
        comes, because somebody joined a moment too late and has missed something.
        """
        stamp = to_stamp(message)
        if stamp != self._said_stamp:
            self._said_stamp = stamp
            self._said = []
        self._said.append((publisher, message))
        publisher.publish(message)

    def _say_again(self) -> None:
        for publisher, message in self._said:
            publisher.publish(message)

    def try_observation(self, observation: tuple[int, Any] | None) -> None:
        """Answer an observation, if there is one; keep it if something is still missing."""
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
