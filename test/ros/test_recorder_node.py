"""One bag for each episode, with the messages that were sent live."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
import errno
from functools import partial
import math
import time

from bags import make_episode
import cv2
from efm_core import topics
from efm_core.episode import EpisodeEnding
from efm_core.messages import (
    to_displacement,
    to_goal,
    to_image,
    to_positions,
    to_probabilities,
    to_stamp,
    to_tokens,
    to_values,
)
from efm_core.observation import MeasuredState
from efm_core.ros_messages import (
    from_action,
    from_displacement,
    from_image,
    from_joints,
    from_observation,
    from_outcome,
    from_steps_to_go,
    from_world,
)
from efm_data import bag_writer
from efm_data.bag_writer import stamp_of
from efm_data.episodes import find_bags, read_bag, read_episode
from efm_data.recorder_node import RecorderNode
from efm_interfaces.msg import EpisodeEvent
from models import table_arm
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rosbags.rosbag2 import Reader
from std_msgs.msg import String
from waiting import scaled

SPOKEN = (
    topics.IMAGE,
    topics.OBSERVATION,
    topics.JOINT_STATES,
    topics.INSTRUCTION,
    topics.ACTION,
    topics.COMMAND,
    topics.STEPS_TO_GO,
    topics.EPISODE_EVENT,
    topics.OUTCOME,
    topics.WORLD_STATE,
)
FULL = OSError(errno.ENOSPC, 'No space left on device')


class Robot:
    """All nodes but the recorder: publishes the messages of an episode that is given."""

    def __init__(self, stage, make_event, *, folder, late=False, **parameters):
        self.stage = stage
        self.make_event = make_event
        self.folder = folder / 'practice'
        known = {
            'lockstep': True,
            'require_world_state': True,
            'episodes_dir': str(folder),
            'completion_timeout_s': scaled(5.0, 60.0),
            **parameters,
        }
        self.record = partial(stage.start, RecorderNode, **known)
        self.node = None if late else self.record()
        self.voices = {topic.name: stage.speak(topic) for topic in SPOKEN}
        self.live = {topic.name: stage.listen(topic) for topic in SPOKEN}
        self.recordings = stage.listen(topics.RECORDING)

    def say(self, topic, message):
        self.voices[topic.name].publish(message)

    def event(self, episode, kind):
        first = kind == EpisodeEvent.START
        return self.make_event(
            episode.episode_id,
            int(episode.stamps[0 if first else -1]),
            event=kind,
            index=episode.index,
            seed=episode.seed,
            instruction=episode.instruction,
        )

    def play(self, episode, without=(), without_first=()):
        """Publish a whole episode; the first picture comes before its START."""
        self.play_step(episode, 0, (*without, *without_first))
        self.say(topics.INSTRUCTION, String(data=episode.instruction))
        self.say(topics.EPISODE_EVENT, self.event(episode, EpisodeEvent.START))
        self.node = self.node or self.record()
        self.stage.spin_until(self.is_open_or_failed(), 'an open bag')
        for step in range(1, len(episode) + 1):
            self.play_step(episode, step, without)
        self.end(episode)

    def end(self, episode):
        """Publish the END of an episode, then its outcome."""
        end = self.event(episode, EpisodeEvent.END)
        self.say(topics.EPISODE_EVENT, end)
        self.say(
            topics.OUTCOME,
            from_outcome(
                to_goal(end),
                EpisodeEnding(
                    episode.outcome,
                    episode.termination,
                    stamp=int(episode.stamps[-1]),
                    steps=len(episode),
                    policy_version=episode.policy_version,
                    reward_version=episode.reward_version,
                ),
            ),
        )

    def is_open_or_failed(self):
        said = len(self.recordings)
        return lambda: self.node._writer.episode_id or len(self.recordings) > said

    def play_step(self, episode, step, without=()):
        """Publish the messages of one observation; the action for the last is not executed."""
        stamp = int(episode.stamps[step])
        picture = episode.observations.images[0][step]
        about = {'episode_id': episode.episode_id}
        acted = min(step, len(episode) - 1)
        values = episode.actions[acted]
        last = step == len(episode)
        distribution = np.random.default_rng(step).dirichlet(np.ones(61))
        positions = {'tool': np.array([0.1, 0.2, step]), 'red_cube': np.zeros(3)}
        joints = MeasuredState(('a', 'b'), np.array([0.5, step]))
        said = {
            topics.IMAGE: from_image(picture, stamp, 'table'),
            topics.OBSERVATION: from_observation(picture, stamp),
            topics.JOINT_STATES: from_joints(joints, stamp),
            topics.WORLD_STATE: from_world(
                positions, episode.true_success_per_step[step], 0.1, stamp
            ),
            topics.STEPS_TO_GO: from_steps_to_go(
                distribution, episode.steps_to_go[step], last, stamp, **about
            ),
            topics.ACTION: from_action(
                episode.tokens[acted],
                values,
                episode.log_probs[acted],
                stamp,
                policy_version=episode.policy_version,
                **about,
            ),
        }
        if not last:
            said[topics.COMMAND] = from_displacement(values, 10.0, stamp, 'table')
        for topic, message in said.items():
            if topic not in without:
                self.say(topic, message)

    def hear_recordings(self, count=1):
        return self.stage.hear(self.recordings, count)

    def wait_for_gaps(self, *names):
        """Wait until everything has arrived but these topics."""
        expected = sorted(names)
        self.stage.spin_until(
            lambda: [gap.topic for gap in self.node._writer.gaps] == expected, f'all but {names}'
        )

    def give_up(self, *names):
        """Return the recorder's report once its time is up, of a bag that lacks these topics."""
        self.wait_for_gaps(*names)
        assert not self.recordings
        self.node._ended_at = -math.inf
        return self.hear_recordings()[0]


@pytest.fixture
def robot(stage, make_event, tmp_path):
    return Robot(stage, make_event, folder=tmp_path)


def assert_same(found, expected):
    """Compare two episodes, arrays and all."""
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


def test_a_bag_holds_the_episode_bit_for_bit(robot, embodiment):
    episode = make_episode(embodiment, index=3, steps=5)
    robot.play(episode)
    said = robot.hear_recordings()[0]
    assert (said.success, said.episode_id, said.detail) == (True, 'episode-3', '')
    assert said.uri == str(robot.folder / 'episode-3')
    assert to_stamp(said) == episode.stamps[-1]
    assert_same(read_episode(said.uri, embodiment), episode)


def test_a_recorder_that_joins_after_the_start_misses_nothing(
    stage, make_event, tmp_path, embodiment
):
    robot = Robot(stage, make_event, folder=tmp_path, late=True, record_camera_images=True)
    episode = make_episode(embodiment, index=3, steps=5)
    robot.play(episode)
    said = robot.hear_recordings()[0]
    assert (said.success, said.detail) == (True, '')
    assert_same(read_episode(said.uri, embodiment), episode)
    found = stamps_in(said.uri)
    for name in ('image', 'joint_states', 'world_state', 'observation'):
        assert found[name] == episode.stamps.tolist(), name


def stamps_in(bag):
    """Return topic name to the stamps [ns] of its messages in a bag."""
    found = defaultdict(list)
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            found[connection.topic.rpartition('/')[2]].append(stamp_of(data))
    return found


@pytest.mark.parametrize('topic', [topics.WORLD_STATE, topics.JOINT_STATES, topics.IMAGE])
def test_a_bag_waits_for_a_topic_whose_publisher_is_found_last(
    stage, make_event, tmp_path, embodiment, topic
):
    """On a busy machine all messages of a topic may arrive after everything else."""
    robot = Robot(stage, make_event, folder=tmp_path, record_camera_images=True)
    episode = make_episode(embodiment, index=3, steps=5)
    robot.play(episode, without=(topic,))
    robot.wait_for_gaps(topic.name)
    assert not robot.recordings
    others = set(SPOKEN) - {topic}
    for step in range(len(episode) + 1):
        robot.play_step(episode, step, without=others)
    said = robot.hear_recordings()[0]
    assert (said.success, said.detail) == (True, '')
    assert_same(read_episode(said.uri, embodiment), episode)
    assert stamps_in(said.uri)[topic.name] == episode.stamps.tolist()


def test_a_simulator_without_truth_makes_no_whole_bag_and_the_report_names_it(robot, embodiment):
    episode = make_episode(embodiment, steps=2)
    robot.play(episode, without=(topics.WORLD_STATE,))
    said = robot.give_up('world_state')
    assert not said.success
    assert said.detail == f'missing: world_state (3, first at stamp {episode.stamps[0]})'


def arrays_of(name, message):
    """Return what a message of the topic holds, decoded as everywhere."""
    return {
        'image': lambda m: [to_image(m)],
        'observation': lambda m: [to_image(m)],
        'action': lambda m: [to_tokens(m), to_values(m), m.log_probability, m.policy_version],
        'command': lambda m: [to_displacement(m, 10.0)],
        'steps_to_go': lambda m: [to_probabilities(m), m.steps_to_go, m.success],
        'world_state': lambda m: [*to_positions(m).values(), m.success, m.distance],
    }[name](message)


@pytest.mark.parametrize('record_camera_images', [True, False])
def test_a_bag_has_the_messages_that_were_sent_live(
    stage, make_event, tmp_path, embodiment, record_camera_images
):
    robot = Robot(stage, make_event, folder=tmp_path, record_camera_images=record_camera_images)
    robot.play(make_episode(embodiment, index=3, steps=5))
    bag = robot.folder / robot.hear_recordings()[0].episode_id
    found = read_bag(bag, table_arm())
    compared = {**found.at, 'observation': found.pictures}
    assert not compared.pop('executed')  # the table's commands carry their stamps
    assert set(compared) == {'observation', 'action', 'command', 'steps_to_go', 'world_state'}
    for name, recorded in compared.items():
        live = {to_stamp(message): message for message in robot.live[name]}
        assert list(recorded) == list(live)
        for stamp, message in live.items():
            pairs = zip(arrays_of(name, message), arrays_of(name, recorded[stamp]), strict=True)
            for ours, theirs in pairs:
                np.testing.assert_array_equal(ours, theirs)
                assert np.asarray(ours).dtype == np.asarray(theirs).dtype
    assert ('image' in found.topics) == record_camera_images


def test_two_bags_in_a_row_hold_their_own_episode_only(robot, embodiment):
    first = make_episode(embodiment, index=0, steps=4)
    second = make_episode(embodiment, index=1, steps=6)
    second = replace(second, stamps=second.stamps + 100 * int(first.stamps[-1]))
    robot.play(first)
    robot.hear_recordings(1)
    robot.play(second)
    robot.hear_recordings(2)
    bags = find_bags(robot.folder)
    assert [bag.name for bag in bags] == ['episode-0', 'episode-1']
    for bag, episode in zip(bags, (first, second), strict=True):
        assert_same(read_episode(bag, embodiment), episode)


def test_a_bag_needs_nothing_but_itself_to_be_read(robot, embodiment):
    robot.play(make_episode(embodiment, steps=2))
    with Reader(robot.folder / robot.hear_recordings()[0].episode_id) as bag:
        types = {c.topic: (c.msgtype, c.digest) for c in bag.connections}
        prefix = f'{robot.stage.namespace}/'
        for topic in SPOKEN:
            if topic is topics.IMAGE:
                continue
            msgtype, digest = types[prefix + topic.name]
            assert msgtype == topic.type
            assert digest.startswith('RIHS01_')
        assert all(c.msgdef.data for c in bag.connections)


def test_messages_of_an_episode_that_ended_are_not_in_the_next_bag(robot, embodiment):
    first = make_episode(embodiment, index=0, steps=2)
    second = make_episode(embodiment, index=1, steps=2)
    second = replace(second, stamps=second.stamps + 100 * int(first.stamps[-1]))
    robot.play(first)
    robot.hear_recordings(1)
    robot.play_step(first, 2)
    robot.play(second)
    robot.hear_recordings(2)
    found = read_bag(robot.folder / 'episode-1', table_arm())
    assert min(found.pictures) == second.stamps[0]


@pytest.mark.parametrize('where', ['write', 'close', 'open'])
def test_a_full_disk_loses_that_bag_and_nothing_else(robot, embodiment, monkeypatch, where):
    episodes = []
    for index in range(3):
        episode = make_episode(embodiment, index=index, steps=3)
        episodes.append(replace(episode, stamps=episode.stamps + index * 10**12))
    robot.play(episodes[0])
    robot.hear_recordings(1)

    def fail(*args, **kwargs):
        raise FULL

    with monkeypatch.context() as broken:
        broken.setattr(bag_writer.Writer, where, fail)
        robot.play(episodes[1])
        said = robot.hear_recordings(2)[1]
    assert (said.success, said.episode_id, said.uri) == (False, 'episode-1', '')
    assert said.detail.startswith('disk full: ')
    assert 'No space left on device' in said.detail
    robot.play(episodes[2])
    assert robot.hear_recordings(3)[2].success
    bags = find_bags(robot.folder)
    assert [bag.name for bag in bags] == ['episode-0', 'episode-2']
    assert_same(read_episode(bags[0], embodiment), episodes[0])
    assert_same(read_episode(bags[1], embodiment), episodes[2])


def test_an_episode_that_exists_already_is_not_overwritten(robot, embodiment):
    episode = make_episode(embodiment, steps=2)
    robot.play(episode)
    robot.hear_recordings(1)
    robot.play(replace(episode, stamps=episode.stamps + 10**12))
    said = robot.hear_recordings(2)[1]
    assert not said.success
    assert 'exists already' in said.detail
    assert_same(read_episode(robot.folder / episode.episode_id, embodiment), episode)


def test_a_bag_whose_last_message_never_comes_is_given_up(robot, embodiment):
    episode = make_episode(embodiment, steps=2)
    robot.play(episode)
    robot.hear_recordings(1)
    del robot.recordings[:]
    second = replace(make_episode(embodiment, 1, 2), stamps=episode.stamps + 10**12)
    for step in range(3):
        robot.play_step(second, step, without=(topics.STEPS_TO_GO,) if step == 2 else ())
    robot.say(topics.EPISODE_EVENT, robot.event(second, EpisodeEvent.START))
    robot.stage.spin_until(robot.is_open_or_failed(), 'an open bag')
    robot.end(second)
    said = robot.give_up('steps_to_go')
    assert not said.success
    assert said.detail == f'missing: steps_to_go (1, first at stamp {second.stamps[-1]})'
    assert [bag.name for bag in find_bags(robot.folder)] == [episode.episode_id]


def test_a_bag_is_given_up_when_its_time_is_up(stage, make_event, tmp_path, embodiment):
    robot = Robot(stage, make_event, folder=tmp_path, completion_timeout_s=0.1)
    robot.play(make_episode(embodiment, steps=2), without=(topics.STEPS_TO_GO,))
    said = robot.hear_recordings()[0]
    assert not said.success
    assert 'steps_to_go (3, first at stamp' in said.detail
    assert not find_bags(robot.folder)


@pytest.mark.parametrize(
    'topic', [topics.OBSERVATION, topics.ACTION, topics.COMMAND, topics.STEPS_TO_GO]
)
def test_a_bag_that_lacks_the_first_message_of_a_topic_is_not_whole(robot, embodiment, topic):
    episode = make_episode(embodiment, steps=3)
    robot.play(episode, without_first=(topic,))
    said = robot.give_up(topic.name)
    assert not said.success
    assert said.detail == f'missing: {topic.name} (1, first at stamp {episode.stamps[0]})'
    assert not find_bags(robot.folder)


def test_a_bag_with_fewer_actions_than_its_outcome_counts_is_not_whole(
    stage, make_event, tmp_path, embodiment
):
    """In real time a recorder that joined late cannot know the first stamps."""
    robot = Robot(stage, make_event, folder=tmp_path, lockstep=False)
    episode = make_episode(embodiment, steps=3)
    robot.play(episode, without_first=(topics.OBSERVATION, topics.ACTION))
    said = robot.give_up('observation')
    assert said.detail == 'missing: observation (1, counted by the outcome)'


def test_without_a_reward_model_a_bag_is_whole_without_steps_to_go(
    stage, make_event, tmp_path, embodiment
):
    robot = Robot(stage, make_event, folder=tmp_path, reward_enabled=False)
    robot.play(make_episode(embodiment, steps=2), without=(topics.STEPS_TO_GO,))
    assert robot.hear_recordings()[0].success
    episode = read_episode(robot.folder / 'episode-0', embodiment)
    assert np.isnan(episode.steps_to_go).all()


def test_a_bag_under_way_is_hidden_from_readers(robot, embodiment):
    episode = make_episode(embodiment, steps=2)
    robot.play_step(episode, 0)
    robot.say(topics.EPISODE_EVENT, robot.event(episode, EpisodeEvent.START))
    robot.stage.spin_until(robot.is_open_or_failed(), 'an open bag')
    assert not find_bags(robot.folder)
    assert robot.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert not find_bags(robot.folder)
    assert [path.name[0] for path in robot.folder.iterdir()] == ['.']


@pytest.mark.parametrize('topic', SPOKEN[1:], ids=lambda topic: topic.name)
def test_a_malformed_message_is_dropped_and_counted_and_the_bag_is_whole(robot, embodiment, topic):
    episode = make_episode(embodiment, steps=2)
    for data in (b'', b'\0\1', b'\0\1\0\0\1\0', b'\0\1\0\0' + b'\xff' * 40):
        robot.voices[topic.name].publish(data)
    counts = robot.node._diagnostics.counts
    robot.stage.spin_until(lambda: counts[f'{topic.name}: expected a {topic.type}'], 'a count')
    robot.play(episode)
    said = robot.hear_recordings()[0]
    assert said.success, said.detail
    assert_same(read_episode(said.uri, embodiment), episode)


def test_a_start_that_would_leave_the_run_is_refused_and_the_episode_goes_on(robot, embodiment):
    episode = make_episode(embodiment, steps=2)
    robot.play_step(episode, 0)
    robot.say(topics.EPISODE_EVENT, robot.event(episode, EpisodeEvent.START))
    robot.stage.spin_until(robot.is_open_or_failed(), 'an open bag')
    robot.say(
        topics.EPISODE_EVENT,
        robot.make_event('../../x', int(episode.stamps[1]), event=EpisodeEvent.START),
    )
    refused = robot.hear_recordings()[0]
    assert not refused.success
    assert 'expected a name' in refused.detail
    assert robot.node._writer.episode_id == episode.episode_id
    assert robot.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS


def test_an_instruction_in_another_script_is_refused_when_it_is_recorded(robot, embodiment):
    """Not first at training, after all demonstrations."""
    episode = make_episode(embodiment, steps=2, instruction='подвинь красный куб')
    robot.say(topics.EPISODE_EVENT, robot.event(episode, EpisodeEvent.START))
    refused = robot.hear_recordings()[0]
    assert not refused.success
    assert 'Latin letters' in refused.detail
    assert not robot.node._writer.episode_id


def subscribers_view(message):
    """
    Return what a standard subscriber sees, ``(H, W, 3)`` uint8, in the encoding of the format.

    The rule of compressed_image_transport: OpenCV decodes to BGR, and the subscriber exchanges
    red and blue of an rgb8 image only if the format says ``compressed bgr``.
    """
    encoding, _, compression = message.format.partition(';')
    picture = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert encoding == 'rgb8'
    return picture[..., ::-1] if 'compressed bgr' in compression else picture


def test_standard_subscribers_see_the_colours_of_the_observation():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(subscribers_view(from_observation(red, 1)), red)


def test_the_recorder_offers_itself_once_it_has_found_the_supervisor(stage):
    """The supervisor begins when it finds `recording`; the recorder must not miss its START."""
    recorder = stage.start(RecorderNode, lockstep=True)
    until = time.monotonic() + 0.5  # ten times as long as it waits between two looks
    stage.spin_until(lambda: time.monotonic() > until)
    assert recorder.count_publishers(topics.RECORDING.name) == 0
    stage.speak(topics.EPISODE_EVENT)
    stage.spin_until(lambda: recorder.count_publishers(topics.RECORDING.name) == 1, 'an offer')
