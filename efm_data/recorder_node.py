"""The recorder node: every topic of the table into one MCAP bag per episode."""

from __future__ import annotations

from functools import partial
from pathlib import Path
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.command import Command
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_stamp
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import stamped
from efm_data.bag_writer import is_stamped, Recording, stamp_of
from efm_data.config import RecorderConfig
from efm_interfaces.msg import EpisodeEvent
from efm_interfaces.msg import Recording as RecordingMessage
from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import WriterError

NOT_RECORDED = (topics.DIAGNOSTICS, topics.POLICY_RELEASE, topics.RECORDING, topics.TRAINER_STATUS)


class RecorderNode(ManagedNode):
    """
    Write one bag per episode and say so on ``recording`` when it is on disk.

    Subscribes every topic of the table, serialised as it is; publishes ``recording``.
    """

    config_type = RecorderConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('recorder', **kwargs)

    def build(self) -> None:
        """Connect to the whole table."""
        config = self.config
        judged = (topics.STEPS_TO_GO,) if config.reward_enabled else ()
        told = (topics.WORLD_STATE,) if config.require_world_state else ()
        closing = (topics.OBSERVATION, topics.OUTCOME, topics.EPISODE_EVENT, *judged, *told)
        answering = (topics.OBSERVATION, topics.ACTION)
        answering += (topics.COMMAND, *judged) if config.lockstep else ()
        robot = load_embodiment(config.embodiment) if config.embodiment else None
        command = robot.command if robot else Command()
        always = () if command.is_planar_displacement else (topics.EXECUTED,)
        following = (topics.COMMAND,) if robot and robot.action.chunk > 1 else ()
        spool = Path(config.episodes_dir).absolute()
        self._recording = Recording(
            spool,
            self.get_namespace(),
            closing=closing,
            folder=config.episodes_subdir,
            answering=answering,
            always=always,
            following=following,
        )
        self._diagnostics = Diagnostics(self)
        self._seen = {}
        skipped = NOT_RECORDED if config.record_camera_images else (*NOT_RECORDED, topics.IMAGE)
        for topic in topics.TABLE:
            if topic not in skipped:
                # An episode begins before everybody has heard of everybody.
                past = config.receive_history and topics.is_durable(topic, config.lockstep)
                if topic is topics.COMMAND:
                    topic = topics.command_topic(command)
                callback = partial(
                    self._on_event if topic is topics.EPISODE_EVENT else self._on_message, topic
                )
                ros_topics.subscription(
                    self, topic, callback, config.lockstep, raw=True, past=past
                )
        # The supervisor takes this for a sign that somebody listens: so it comes last.
        self._publisher = ros_topics.publisher(self, topics.RECORDING)
        self.create_timer(0.5, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def hold(self) -> None:
        """Close what is open."""
        self._recording.abandon()

    def _on_message(self, topic: topics.Topic, data: bytes) -> None:
        if not self.is_active:
            return
        if is_stamped(topic):
            self._seen[topic.name] = stamp_of(data)
        self._attempt(partial(self._recording.write, topic, data, time.time_ns()))
        self._finish_if_whole()

    def _on_event(self, topic: topics.Topic, data: bytes) -> None:
        """Open a bag at START; note the last observation at END."""
        if not self.is_active:
            return
        event = deserialize_message(data, EpisodeEvent)
        if event.event == EpisodeEvent.START:
            self._attempt(
                partial(self._recording.start, event.episode_id, event.kind, to_stamp(event)),
                event.episode_id,
            )
        elif event.episode_id == self._recording.episode_id:
            self._ended_at = time.monotonic()
            self._end_stamp = to_stamp(event)
            self._recording.end(self._end_stamp, self._seen)
        self._on_message(topic, data)

    def _attempt(self, work: Any, episode_id: str = '') -> None:
        """Do what may fail on a full disk or a bad folder; the supervisor hears of it."""
        episode_id = episode_id or self._recording.episode_id
        try:
            work()
        except (OSError, ValueError, WriterError) as error:
            self._recording.abandon()
            self._say(episode_id, 0, False, '', str(error))

    def _finish_if_whole(self) -> None:
        if self._recording.is_whole:
            self._attempt(self._finish)

    def _finish(self) -> None:
        episode_id = self._recording.episode_id
        path = self._recording.finish()
        self._diagnostics.counts['episodes'] += 1
        self._say(episode_id, self._end_stamp, True, str(path), '')

    def _on_tick(self) -> None:
        """Give up on a bag whose last messages do not come."""
        late = time.monotonic() - getattr(self, '_ended_at', time.monotonic())
        if self._recording.missing and late > self.config.completion_timeout_s:
            missing = ', '.join(self._recording.missing)
            self._say(
                self._recording.episode_id,
                0,
                False,
                '',
                f'not every observation has a message on {missing}',
            )
            self._recording.abandon()

    def _say(self, episode_id: str, stamp: int, success: bool, uri: str, detail: str) -> None:
        if detail:
            self._diagnostics.count_dropped(f'episode {episode_id}: {detail}')
        self._publisher.publish(
            stamped(
                RecordingMessage(episode_id=episode_id, success=success, uri=uri, detail=detail),
                stamp,
            )
        )


def main(args: list[str] | None = None) -> None:
    """Run the recorder node."""
    run(RecorderNode, args)


if __name__ == '__main__':
    main()
