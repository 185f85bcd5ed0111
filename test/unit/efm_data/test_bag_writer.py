"""One bag per episode, cut out of the stream of messages."""

from __future__ import annotations

from dataclasses import fields
import struct

from arms import make_arm
from bags import make_episode, write_bag
from efm_core import topics
from efm_data.bag_writer import Definitions, Recording, stamp_of
from efm_data.episodes import find_bags, read_episode
import numpy as np
import pytest
from rosbags.rosbag2 import Reader

OBSERVATION = topics.OBSERVATION
ACTION = topics.ACTION
OUTCOME = topics.OUTCOME
CLOSING = (OBSERVATION, OUTCOME)


@pytest.fixture
def recording(tmp_path):
    """Yield a recorder that has not heard of any episode."""
    recording = Recording(tmp_path, '/robot_0', closing=CLOSING)
    yield recording
    recording.abandon()


def raw(stamp: int) -> bytes:
    """Return what a serialised message with this stamp [ns] starts with, and a rest."""
    return b'\0\1\0\0' + struct.pack('<iI', *divmod(stamp, 1_000_000_000)) + b'rest'


def write(recording: Recording, *messages: tuple) -> None:
    """Bring messages, each a topic and a stamp [ns]."""
    for topic, stamp in messages:
        recording.write(topic, raw(stamp), 10_000 + stamp)


def finish(recording: Recording, last: int) -> list[tuple[str, int]]:
    """End the episode with the observation ``last``, and return what is in the bag."""
    recording.end(last, {})
    write(recording, (OBSERVATION, last), (OUTCOME, last))
    assert recording.is_whole
    return content(recording.finish())


def content(path) -> list[tuple[str, int]]:
    """Return topic and stamp [ns] of every message in a bag."""
    with Reader(path) as reader:
        return [(c.topic, stamp_of(data)) for c, _, data in reader.messages()]


def test_stamp_is_read_from_the_bytes():
    assert stamp_of(raw(1_700_000_000_123_456_789)) == 1_700_000_000_123_456_789


def test_bag_has_the_episodes_messages_under_the_robots_namespace(recording, tmp_path):
    recording.start('e1', 'practice', 100)
    write(recording, (OBSERVATION, 100), (ACTION, 100))
    assert finish(recording, 200) == [
        ('/robot_0/observation', 100),
        ('/robot_0/action', 100),
        ('/robot_0/observation', 200),
        ('/robot_0/outcome', 200),
    ]
    assert finished(tmp_path) == ['e1']
    assert recording.episode_id == ''


def test_spool_may_have_one_folder_for_all_kinds(tmp_path):
    recording = Recording(tmp_path, '', closing=CLOSING, folder='evaluation-1')
    recording.start('e1', 'evaluation', 100)
    assert finish(recording, 100)[0] == ('/observation', 100)
    assert (tmp_path / 'evaluation-1' / 'e1').is_dir()


def test_messages_that_come_before_the_event_that_starts_the_episode_are_kept(recording):
    write(recording, (OBSERVATION, 50), (OBSERVATION, 100), (ACTION, 100))
    recording.start('e1', 'practice', 100)
    assert finish(recording, 200)[:2] == [('/robot_0/observation', 100), ('/robot_0/action', 100)]


def test_only_so_many_early_messages_are_kept(recording):
    write(recording, *((OBSERVATION, 100 + count) for count in range(1000)))
    recording.start('e1', 'practice', 100)
    assert len(finish(recording, 2000)) == 64 + 2


def test_messages_of_the_scene_before_and_after_are_left_out(recording):
    recording.start('e1', 'practice', 100)
    write(recording, (OBSERVATION, 99), (OBSERVATION, 100))
    recording.end(200, {})
    write(recording, (ACTION, 201), (OBSERVATION, 200), (OUTCOME, 200))
    stamps = [stamp for _, stamp in content(recording.finish())]
    assert stamps == [100, 200, 200]


def test_stop_command_without_a_stamp_belongs_to_the_running_episode(recording):
    recording.start('e1', 'practice', 100)
    write(recording, (topics.COMMAND, 0))
    assert ('/robot_0/command', 0) in finish(recording, 200)


def test_bag_is_whole_when_the_last_observation_has_all_its_messages(recording):
    assert not recording.is_whole
    recording.start('e1', 'practice', 100)
    write(recording, (OBSERVATION, 100), (OUTCOME, 100))
    assert not recording.is_whole
    assert recording.missing == []
    recording.end(200, {})
    assert recording.missing == ['observation', 'outcome']
    write(recording, (OUTCOME, 200))
    assert recording.missing == ['observation']
    write(recording, (OBSERVATION, 150))
    assert not recording.is_whole
    write(recording, (OBSERVATION, 200))
    assert recording.is_whole


def test_what_was_seen_before_the_end_need_not_come_again(recording):
    recording.start('e1', 'practice', 100)
    write(recording, (OBSERVATION, 200))
    recording.end(200, {'observation': 200, 'outcome': 100})
    assert recording.missing == ['outcome']


def finished(tmp_path) -> list[str]:
    """Return the names that a reader of the spool sees."""
    return [path.name for path in find_bags(tmp_path / 'practice')]


def unfinished(tmp_path) -> list[str]:
    """Return the names of the bags that are not whole."""
    return sorted(path.name for path in (tmp_path / 'practice' / '.unfinished').iterdir())


def test_bag_under_way_is_where_readers_do_not_look(recording, tmp_path):
    recording.start('e1', 'practice', 100)
    write(recording, (OBSERVATION, 100))
    assert (finished(tmp_path), unfinished(tmp_path)) == ([], ['e1'])
    finish(recording, 100)
    assert (finished(tmp_path), unfinished(tmp_path)) == (['e1'], [])


def test_files_of_a_finished_bag_can_be_seen(recording):
    recording.start('e1', 'practice', 100)
    recording.end(100, {'observation': 100, 'outcome': 100})
    names = sorted(path.name for path in recording.finish().iterdir())
    assert names == ['e1.mcap', 'metadata.yaml']


def test_abandoned_bag_stays_among_the_unfinished_and_can_be_read(recording, tmp_path):
    recording.start('e1', 'practice', 100)
    write(recording, (OBSERVATION, 100))
    recording.abandon()
    assert content(tmp_path / 'practice' / '.unfinished' / 'e1') == [('/robot_0/observation', 100)]
    assert recording.episode_id == ''
    recording.abandon()


def test_bag_waits_for_the_truth_of_the_last_observation_if_that_came_with_the_others(recording):
    recording.start('e1', 'practice', 100)
    write(recording, (topics.WORLD_STATE, 100), *((topic, 200) for topic in CLOSING))
    recording.end(200, {topic.name: 200 for topic in CLOSING})
    assert recording.missing == ['world_state']
    write(recording, (topics.WORLD_STATE, 200))
    assert recording.is_whole


def test_next_episode_closes_one_that_never_ended(recording, tmp_path):
    recording.start('e1', 'practice', 100)
    recording.start('e2', 'practice', 500)
    assert finish(recording, 500)
    assert (finished(tmp_path), unfinished(tmp_path)) == (['e2'], ['e1'])


def test_what_a_crash_has_left_is_set_aside_and_not_lost(recording, tmp_path):
    for name in ('e1', 'e1.torn0'):
        (tmp_path / 'practice' / '.unfinished' / name).mkdir(parents=True)
    recording.start('e1', 'practice', 100)
    assert unfinished(tmp_path) == ['e1', 'e1.torn0', 'e1.torn1']
    finish(recording, 100)
    assert finished(tmp_path) == ['e1']


def test_finished_episode_is_never_overwritten(recording):
    recording.start('e1', 'practice', 100)
    finish(recording, 100)
    with pytest.raises(FileExistsError, match=r'recorder: expected a new episode, got .*e1'):
        recording.start('e1', 'practice', 900)


def test_spool_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / 'practice').write_text('a file where the folder should be')
    with pytest.raises(OSError, match='practice'):
        Recording(tmp_path, '', closing=CLOSING).start('e1', 'practice', 100)


@pytest.mark.parametrize('topic', topics.TABLE, ids=lambda topic: topic.name)
def test_every_topic_of_the_table_can_be_recorded(topic):
    definition, digest = Definitions().of(topic.type)
    assert definition
    assert digest.startswith('RIHS01_')


def test_message_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="expected a known message type, got 'a/msg/B'"):
        Definitions().of('a/msg/B')


def test_episode_that_is_recorded_is_the_episode_that_is_read(tmp_path, embodiment):
    """The recorder takes bytes as they come; here those of a bag written another way."""
    episode = make_episode(embodiment, steps=3)
    source = write_bag(episode, tmp_path / 'source')
    recording = Recording(tmp_path, '/robot_0', closing=CLOSING)
    recording.start('e1', 'practice', int(episode.stamps[0]))
    by_name = {topic.name: topic for topic in topics.TABLE}
    seen = {}
    with Reader(source) as reader:
        for connection, received, data in reader.messages():
            topic = by_name[connection.topic.split('/')[-1]]
            if topic is topics.OUTCOME:
                recording.end(int(episode.stamps[-1]), seen)
            recording.write(topic, data, received)
            seen[topic.name] = stamp_of(data)
    assert recording.is_whole
    read = read_episode(recording.finish(), embodiment)
    for field in fields(episode):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(episode, field.name))


def test_a_bag_names_what_may_never_have_come(tmp_path):
    recording = Recording(tmp_path, '/robot_0', closing=CLOSING, always=(topics.EXECUTED,))
    recording.start('e1', 'practice', 100)
    finish(recording, 200)
    with Reader(tmp_path / 'practice' / 'e1') as reader:
        assert '/robot_0/executed' in {c.topic for c in reader.connections}


def test_a_drivers_numbers_without_a_header_are_kept_as_they_come(recording):
    driver = topics.command_topic(make_arm('forward_position_controller').command)
    recording.start('e1', 'practice', 100)
    write(recording, (driver, 10**18))
    assert ('/robot_0/driver/command', 10**18) in finish(recording, 200)
