"""The base of every node that answers the images of an episode."""

from __future__ import annotations

from functools import partial
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_core.frozen_camera import FrozenCamera
from efm_core.messages import to_measured_state, to_stamp
from efm_core.observation import MeasuredState, Observation
from efm_core.observation_assembly import ObservationAssembler
from efm_core.observation_matcher import ObservationMatcher
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode
from efm_core.ros_tool_pose import subscribe_tool_pose
from efm_interfaces.msg import EpisodeEvent
import numpy as np
from rclpy.publisher import Publisher

TOOL_POSE = 'tool_pose'  # key of the report that says why there is no pose


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
        """
        self.embodiment = embodiment
        decision_ns = embodiment.period_ns if every else embodiment.decision_ns
        if lockstep and decision_ns == embodiment.period_ns:
            decision_ns = 0
        self.matcher = ObservationMatcher(decision_ns, embodiment.period_ns)
        self.diagnostics = Diagnostics(self)
        self._reply_stamp = 0
        self._replies: list[tuple[Publisher, Any]] = []
        # A renderer repeats a still scene bit for bit; a sensor does not.
        is_simulated = lockstep or embodiment.command.is_simulated
        self._frozen = [
            FrozenCamera(0 if is_simulated else camera.max_identical_images)
            for camera in embodiment.cameras
        ]
        self._assembler = ObservationAssembler(embodiment, exact=lockstep)
        ros_topics.camera_subscription(self, embodiment.cameras[0], self._on_image, lockstep)
        self._subscribe_other_parts(lockstep)
        ros_topics.subscription(self, topics.EPISODE_EVENT, self.on_event)

    def _subscribe_other_parts(self, lockstep: bool) -> None:
        """Subscribe the other cameras, and what the proprioception needs."""
        robot = self.embodiment
        for camera, frozen in zip(robot.cameras[1:], self._frozen[1:], strict=True):
            take = partial(self._on_other_image, camera.name, frozen)
            ros_topics.camera_subscription(self, camera, take, lockstep)
        if robot.sees_joints:
            ros_topics.subscription(self, topics.JOINT_STATES, self._on_joints, lockstep)
        if robot.sees_tool_pose:
            subscribe_tool_pose(self, robot.command, self._on_pose, self._on_pose_problem)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """
        Prepare for the episode that ``event`` starts.

        :return: False if the node is not ready; then call `on_event` with ``event`` again later.
        """
        return True

    def on_observation(self, stamp: int, observation: Observation) -> bool:
        """Answer the observation with this stamp [ns]; return False if other input is missing."""
        raise NotImplementedError

    def assemble(self, stamp: int, message: Any) -> Observation | None:
        """
        Return the observation that an image of the first camera begins; None to wait for a part.

        :raises ValueError: when the image does not fit its camera.
        """
        return self._assembler.assemble(stamp, message)

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
            for camera in self._frozen:
                if camera.fault:
                    raise ValueError(camera.fault)
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
        if self._is_frozen(self._frozen[0], stamp, message):
            return
        if self.matcher.is_waiting and self._assembler.missing:
            self.diagnostics.count_dropped(self._assembler.missing)
        self._admit(stamp, message)

    def _is_frozen(self, camera: FrozenCamera, stamp: int, message: Any) -> bool:
        """Return whether a camera repeats one image; the episode is then over for this node."""
        camera.add(stamp, message.data)
        if camera.warning:
            self.diagnostics.count_dropped(camera.warning)
        if camera.fault:
            self._end_by_fault(camera.fault)
        return bool(camera.fault)

    def _on_other_image(self, name: str, frozen: FrozenCamera, message: Any) -> None:
        stamp = to_stamp(message)
        if self.is_active and not self._is_frozen(frozen, stamp, message):
            self._assembler.add_image(name, stamp, message)
            self._on_part()

    def _on_joints(self, message: Any) -> None:
        self._assembler.add_state(to_stamp(message), to_measured_state(message))
        self._on_part()

    def _on_pose_problem(self, problem: str) -> None:
        self.diagnostics.values[TOOL_POSE] = problem

    def _on_pose(self, stamp: int, pose: np.ndarray) -> None:
        self.diagnostics.values.pop(TOOL_POSE, None)
        self._assembler.add_state(stamp, MeasuredState(tool_pose=pose))
        self._on_part()

    def _on_part(self) -> None:
        """Try the observation again that waited for a part."""
        if self.is_active and self._assembler.missing:
            self.try_observation(self.matcher.take())

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
            seen = self.assemble(stamp, message)
            if seen is not None and self.on_observation(stamp, seen):
                self.diagnostics.count_processed(started)
            else:
                self.matcher.keep(stamp, message)
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))
