"""The recorder node: one MCAP bag for each episode, with every topic of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.command import Command
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode import Termination
from efm_core.files import describe as describe_error
from efm_core.instruction import check_instruction
from efm_core.messages import to_due_stamps, to_stamp
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_recording
from efm_data.bag_writer import EpisodeBagWriter
from efm_data.completeness import describe, recorded_episode, Requirements
from efm_data.config import RecorderConfig
from efm_interfaces.msg import EpisodeEvent, EpisodeOutcome
from rclpy.clock import Clock, ClockType
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import WriterError

NOT_RECORDED = (topics.DIAGNOSTICS, topics.POLICY_RELEASE, topics.RECORDING, topics.TRAINER_STATUS)
TICK_S = 0.5
LOOK_S = 0.05


class RecorderNode(ManagedNode):
    """
    Write one bag for each episode, and publish on ``recording`` when it is on disk.

    Subscribes every topic of the table, as serialised bytes; publishes ``recording``.
    """

    config_type = RecorderConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('recorder', **kwargs)

    def build(self) -> None:
        """Subscribe the whole table."""
        config: RecorderConfig = self.config
        robot = load_embodiment(config.embodiment) if config.embodiment else None
        command = robot.command if robot else Command()
        self._language = robot.instruction_language if robot else 'en'
        self._writer = EpisodeBagWriter(
            Path(config.episodes_dir).absolute(),
            self.get_namespace(),
            needs=requirements(config, robot),
            subdir=config.episodes_subdir,
            always=(topics.executed_topic(command),),
        )
        self._ended_at = 0.0
        self._end_stamp = 0
        self._steps: dict[str, int] = {}
        self._diagnostics = Diagnostics(self)
        callbacks = {topics.EPISODE_EVENT: self._on_event, topics.OUTCOME: self._on_outcome}
        for row, topic in recorded_topics(config, robot):
            # An episode may begin before the recorder has found every publisher.
            history = config.receive_history and topics.is_durable(row, config.lockstep)
            callback = partial(self._receive, topic, callbacks.get(row, self._on_message))
            ros_topics.subscription(
                self, topic, callback, config.lockstep, raw=True, history=history
            )
        self._publisher: Publisher | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._looking = self.create_timer(LOOK_S, self._look_for_events, clock=steady)
        self.create_timer(TICK_S, self._on_tick, clock=steady)

    def hold(self) -> None:
        """Close the open bag."""
        self._writer.abandon()

    def _look_for_events(self) -> None:
        """
        Create the publisher of ``recording`` once this node has found that of ``episode_event``.

        The supervisor begins episodes when it finds the publisher of ``recording``. It keeps only
        its newest event for a subscriber that finds it late: END would replace START.
        """
        if self.count_publishers(topics.EPISODE_EVENT.name):
            self._looking.cancel()
            self._offer()

    def _offer(self) -> Publisher:
        if self._publisher is None:
            self._publisher = ros_topics.publisher(self, topics.RECORDING)
        return self._publisher

    def _receive(
        self,
        topic: topics.Topic,
        callback: Callable[[topics.Topic, bytes, Any], None],
        data: bytes,
    ) -> None:
        """Pass a serialised message on, with its fields; drop one that is malformed."""
        try:
            message = deserialize_message(data, ros_topics.message_type(topic.type))
        except Exception:  # whatever the middleware raises
            size = len(data)
            reason = f'{topic.name}: expected a {topic.type}, got {size} malformed bytes'
            self._diagnostics.count_dropped(reason)
            return
        callback(topic, data, message)

    def _on_message(self, topic: topics.Topic, data: bytes, message: Any) -> None:
        if not self.is_active:
            return
        due = to_due_stamps(message) if topic == topics.ACTION else ()
        self._try(partial(self._writer.write, topic, data, time.time_ns(), due))
        if self._writer.is_whole:
            self._try(self._finish)

    def _on_event(self, topic: topics.Topic, data: bytes, event: EpisodeEvent) -> None:
        """Open a bag at START; note the last observation at END."""
        if not self.is_active:
            return
        if event.event == EpisodeEvent.START:
            if not self._try(partial(self._start, event), event.episode_id):
                return
        elif event.episode_id == self._writer.episode_id:
            self._ended_at = time.monotonic()
            self._end_stamp = to_stamp(event)
            self._writer.end(self._end_stamp)
            self._writer.expect_steps(self._steps.get(event.episode_id, 0))
        self._on_message(topic, data, event)

    def _start(self, event: EpisodeEvent) -> None:
        """Open a bag, unless nothing can be learned from it, which is known before the end."""
        if event.instruction:
            check_instruction(event.instruction, self._language)
        self._writer.start(event.episode_id, event.kind, to_stamp(event))

    def _on_outcome(self, topic: topics.Topic, data: bytes, outcome: EpisodeOutcome) -> None:
        """Note how many actions the episode must have; one that broke may lack some."""
        broke = outcome.termination == Termination.FAULT
        self._steps = {outcome.episode_id: 0 if broke else outcome.steps}
        self._writer.expect_steps(self._steps.get(self._writer.episode_id, 0))
        self._on_message(topic, data, outcome)

    def _try(self, work: Callable[[], Any], episode_id: str = '') -> bool:
        """
        Do what fails on a full disk or a bad folder; report a failure to the supervisor.

        :return: whether it succeeded.
        """
        episode_id = episode_id or self._writer.episode_id
        try:
            work()
        except (OSError, ValueError, WriterError) as error:
            self._fail(episode_id, describe_error(error))
            return False
        return True

    def _finish(self) -> None:
        episode_id = self._writer.episode_id
        path = self._writer.finish()
        self._diagnostics.counts['episodes'] += 1
        self._offer().publish(
            from_recording(episode_id, self._end_stamp, success=True, uri=str(path))
        )

    def _fail(self, episode_id: str, detail: str) -> None:
        """Give up an episode; a START that is refused leaves the running one as it is."""
        if episode_id == self._writer.episode_id:
            self._writer.abandon()
        self._diagnostics.count_dropped(f'episode {episode_id}: {detail}')
        self._offer().publish(from_recording(episode_id, 0, success=False, detail=detail))

    def _on_tick(self) -> None:
        """Give up a bag whose missing messages do not arrive."""
        gaps = self._writer.gaps
        if gaps and time.monotonic() - self._ended_at > self.config.completion_timeout_s:
            self._fail(self._writer.episode_id, describe(gaps))


def requirements(config: RecorderConfig, robot: Embodiment | None) -> Requirements:
    """Return the messages of a whole episode of this robot; None stands for the table's."""
    command = topics.command_topic(robot.command) if robot else topics.COMMAND
    sent = topics.executed_topic(robot.command) if robot else topics.COMMAND
    camera = robot.cameras[0].topic if robot else topics.IMAGE.name
    return recorded_episode(
        lockstep=config.lockstep,
        reward=config.reward_enabled,
        simulated=config.require_world_state,
        command=command.name,
        sent=sent.name,
        camera=camera if config.record_camera_images else '',
        parts=frozenset(part.name for part in observation_parts(robot)),
        chunk=robot.action.chunk if robot else 1,
    )


def observation_parts(robot: Embodiment | None) -> tuple[topics.Topic, ...]:
    """Return the topics of an observation besides that of the first camera."""
    if robot is None:
        return ()
    others = topics.observation_topics(robot.cameras)[1:]
    return (*others, topics.PROPRIOCEPTION) if robot.proprioception else others


def recorded_topics(
    config: RecorderConfig, robot: Embodiment | None
) -> Iterator[tuple[topics.Topic, topics.Topic]]:
    """Yield each recorded row of the table, and the topic that this robot has for it."""
    own: dict[topics.Topic, topics.Topic] = {}
    if robot:
        own = {
            topics.COMMAND: topics.command_topic(robot.command),
            topics.IMAGE: topics.camera_topic(robot.cameras[0]),
        }
    for row in topics.TABLE:
        if row not in NOT_RECORDED and (row != topics.IMAGE or config.record_camera_images):
            yield row, own.get(row, row)
    parts = observation_parts(robot)
    yield from ((topics.OBSERVATION, part) for part in parts if part != topics.PROPRIOCEPTION)
    if robot and config.record_camera_images:
        yield from ((topics.IMAGE, topics.camera_topic(camera)) for camera in robot.cameras[1:])


def main(args: list[str] | None = None) -> None:
    """Run the recorder node."""
    run(RecorderNode, args)


if __name__ == '__main__':
    main()
