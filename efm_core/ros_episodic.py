"""The base of every node that answers the images of an episode."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_core.frozen_camera import FrozenCamera
from efm_core.messages import to_image, to_stamp
from efm_core.observation import Observation
from efm_core.observation_matcher import ObservationMatcher
from efm_core.preprocessing import observe
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode
from efm_interfaces.msg import EpisodeEvent
from rclpy.publisher import Publisher


class EpisodicNode(ManagedNode):
    """
    Subscribes the embodiment's camera and ``episode_event``, and calls two hooks.

    `on_episode_start` prepares for an episode. `on_observation` answers one image with
    `publish_reply`. A hook raises ValueError when it cannot prepare the episode or cannot use the
    image. The node then publishes no answer and reports the error on ``/diagnostics``. So it does
    for the rest of an episode in which the camera repeats one image.
    """

    def subscribe_episodes(
        self, embodiment: Embodiment, lockstep: bool, every: bool = False
    ) -> None:
        """
        Connect the topics; call it from `build`.

        In real time the camera may be faster than the robot: one image a control period is
        answered, with chunks one a chunk. In lockstep the world renders one image a period.

        :param every: answer one image a control period, with chunks too.
        :raises ValueError: for a robot with several cameras or with proprioception.
        """
        self.embodiment = embodiment
        decision_ns = embodiment.period_ns if every else embodiment.decision_ns
        if lockstep and decision_ns == embodiment.period_ns:
            decision_ns = 0
        self.matcher = ObservationMatcher(decision_ns, embodiment.period_ns)
        self.diagnostics = Diagnostics(self)
        self._reply_stamp = 0
        self._replies: list[tuple[Publisher, Any]] = []
        camera = embodiment.only_camera
        # A renderer repeats a still scene bit for bit; a sensor does not.
        is_simulated = lockstep or embodiment.command.is_simulated
        self._frozen = FrozenCamera(0 if is_simulated else camera.max_identical_images)
        ros_topics.camera_subscription(self, camera, self._on_image, lockstep)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self.on_event)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """
        Prepare for the episode that ``event`` starts.

        :return: False if the node is not ready; then call `on_event` with ``event`` again later.
        """
        return True

    def on_observation(self, stamp: int, observation: Observation) -> bool:
        """Answer the observation with this stamp [ns]; return False if other input is missing."""
        raise NotImplementedError

    def assemble(self, message: Any) -> Observation:
        """
        Return the observation that an image of the first camera begins.

        :raises ValueError: when the image does not fit its camera.
        """
        return observe((to_image(message),), self.embodiment)

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
            if self._frozen.fault:
                raise ValueError(self._frozen.fault)
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
        if not self.is_active:
            return
        stamp = to_stamp(message)
        self._frozen.add(stamp, message.data)
        if self._frozen.warning:
            self.diagnostics.count_dropped(self._frozen.warning)
        if self._frozen.fault:
            self._end_by_fault(self._frozen.fault)
        else:
            self._admit(stamp, message)

    def _end_by_fault(self, fault: str) -> None:
        """Answer no more images of this episode; the next START tries again."""
        if self.matcher.event is not None:
            self.get_logger().error(fault)
        self.diagnostics.fault = fault
        self.hold()

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
            stamp, message = observation
            if self.on_observation(stamp, self.assemble(message)):
                self.diagnostics.count_processed(started)
            else:
                self.matcher.keep(stamp, message)
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))
