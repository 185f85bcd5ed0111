"""One bag for each episode, cut out of the stream of messages."""

from __future__ import annotations

from dataclasses import fields, replace
import os
import struct

from arms import make_arm
from bags import make_episode, write_bag
from efm_core import topics
from efm_data.bag_writer import Definitions, EpisodeBagWriter, stamp_of
from efm_data.completeness import Gap, recorded_episode, Requirements
from efm_data.early_messages import MAX_MESSAGES
from efm_data.episodes import find_bags, read_episode
from efm_data.mcap_file import check_file
import numpy as np
import pytest
from rosbags.rosbag2 import Reader

OBSERVATION = topics.OBSERVATION
ACTION = topics.ACTION
OUTCOME = topics.OUTCOME
NEEDS = Requirements(last=frozenset({OUTCOME.name}))


@pytest.fixture
def writer(tmp_path):
    """Yield a writer without an open bag."""
    writer = EpisodeBagWriter(tmp_path, '/robot_0', needs=NEEDS)
    yield writer
    writer.abandon()


def raw(stamp: int) -> bytes:
    """Return the beginning of a serialised message with this stamp [ns], and some bytes."""
    return b'\0\1\0\0' + struct.pack('<iI', *divmod(stamp, 1_000_000_000)) + b'rest'


def write(writer: EpisodeBagWriter, *messages: tuple) -> None:
    """Write messages, each a topic and a stamp [ns]."""
    for topic, stamp in messages:
        writer.write(topic, raw(stamp), 10_000 + stamp)


def finish(writer: EpisodeBagWriter, last: int) -> list[tuple[str, int]]:
    """End the episode with the observation ``last``, and return the messages in the bag."""
    writer.end(last)
    write(writer, (OBSERVATION, last), (OUTCOME, last))
    assert writer.is_whole
    return content(writer.finish())


def content(path) -> list[tuple[str, int]]:
    """Return topic and stamp [ns] of every message in a bag."""
    with Reader(path) as reader:
        return [(c.topic, stamp_of(data)) for c, _, data in reader.messages()]


def test_stamp_is_read_from_the_bytes():
    assert stamp_of(raw(1_700_000_000_123_456_789)) == 1_700_000_000_123_456_789


def test_bag_has_the_episodes_messages_under_the_robots_namespace(writer, tmp_path):
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100), (ACTION, 100))
    assert finish(writer, 200) == [
        ('/robot_0/observation', 100),
        ('/robot_0/action', 100),
        ('/robot_0/observation', 200),
        ('/robot_0/outcome', 200),
    ]
    assert finished(tmp_path) == ['e1']
    assert writer.episode_id == ''


def test_all_kinds_of_episodes_may_share_one_folder(tmp_path):
    writer = EpisodeBagWriter(tmp_path, '', needs=NEEDS, subdir='evaluation-1')
    writer.start('e1', 'evaluation', 100)
    assert finish(writer, 100)[0] == ('/observation', 100)
    assert (tmp_path / 'evaluation-1' / 'e1').is_dir()


def test_messages_that_come_before_the_event_that_starts_the_episode_are_kept(writer):
    write(writer, (OBSERVATION, 50), (OBSERVATION, 100), (ACTION, 100))
    writer.start('e1', 'practice', 100)
    assert finish(writer, 200)[:2] == [('/robot_0/observation', 100), ('/robot_0/action', 100)]


def test_only_the_newest_early_messages_of_a_topic_are_kept(writer):
    write(writer, *((OBSERVATION, 100 + count) for count in range(1000)))
    writer.start('e1', 'practice', 100)
    stamps = [stamp for _, stamp in finish(writer, 2000)]
    assert stamps == [*range(1100 - MAX_MESSAGES, 1100), 2000, 2000]


def test_a_fast_topic_does_not_displace_the_first_observation(writer):
    write(writer, (OBSERVATION, 100), (ACTION, 100))
    write(writer, *((topics.JOINT_STATES, 100 + count) for count in range(1000)))
    writer.start('e1', 'practice', 100)
    found = finish(writer, 2000)
    assert found[:2] == [('/robot_0/observation', 100), ('/robot_0/action', 100)]


def test_early_pictures_are_kept_up_to_a_number_of_bytes(writer, monkeypatch):
    monkeypatch.setattr('efm_data.early_messages.MAX_BYTES', 3 * len(raw(0)))
    write(writer, *((OBSERVATION, 100 + count) for count in range(5)))
    writer.start('e1', 'practice', 100)
    assert [stamp for _, stamp in finish(writer, 200)] == [102, 103, 104, 200, 200]


def test_messages_of_the_next_scene_wait_for_its_start_while_a_bag_is_open(writer):
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100))
    writer.end(100)
    write(writer, (OBSERVATION, 300), (ACTION, 300))
    writer.start('e2', 'practice', 300)
    assert finish(writer, 400)[:2] == [('/robot_0/observation', 300), ('/robot_0/action', 300)]


def test_messages_of_the_scene_before_and_after_are_left_out(writer):
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 99), (OBSERVATION, 100))
    writer.end(200)
    write(writer, (ACTION, 201), (OBSERVATION, 200), (OUTCOME, 200))
    stamps = [stamp for _, stamp in content(writer.finish())]
    assert stamps == [100, 200, 200]


def test_stop_command_without_a_stamp_belongs_to_the_running_episode(writer):
    writer.start('e1', 'practice', 100)
    write(writer, (topics.COMMAND, 0))
    assert ('/robot_0/command', 0) in finish(writer, 200)


def test_bag_is_whole_when_the_last_observation_has_all_its_messages(writer):
    assert not writer.is_whole
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100), (OUTCOME, 100))
    assert not writer.is_whole
    assert writer.gaps == []
    writer.end(200)
    assert [gap.topic for gap in writer.gaps] == ['observation', 'outcome']
    write(writer, (OUTCOME, 200))
    assert writer.gaps == [Gap('observation', 1, stamp=200)]
    write(writer, (OBSERVATION, 150))
    assert not writer.is_whole
    write(writer, (OBSERVATION, 200))
    assert writer.is_whole


def test_messages_that_arrived_before_the_end_count(writer):
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 200), (OUTCOME, 100))
    writer.end(200)
    assert [gap.topic for gap in writer.gaps] == ['outcome']


def test_a_newer_message_of_a_topic_does_not_stand_for_the_last_one(writer):
    """The label of a person may name a moment that has no observation."""
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100), (OBSERVATION, 200), (OUTCOME, 150))
    writer.end(150)
    assert writer.gaps == [Gap('observation', 1, stamp=150)]


def finished(tmp_path) -> list[str]:
    """Return the names of the bags that a reader finds."""
    return [path.name for path in find_bags(tmp_path / 'practice')]


def unfinished(tmp_path) -> list[str]:
    """Return the names of the bags that are not whole."""
    return sorted(path.name for path in (tmp_path / 'practice' / '.unfinished').iterdir())


def test_bag_under_way_is_where_readers_do_not_look(writer, tmp_path):
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100))
    assert (finished(tmp_path), unfinished(tmp_path)) == ([], ['e1'])
    finish(writer, 100)
    assert (finished(tmp_path), unfinished(tmp_path)) == (['e1'], [])


def test_files_of_a_finished_bag_are_visible_and_on_disk(writer, tmp_path, monkeypatch):
    synchronised = []
    fsync = os.fsync

    def note(handle: int) -> None:
        synchronised.append(os.readlink(f'/proc/self/fd/{handle}').rpartition('/')[2])
        fsync(handle)

    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100), (OUTCOME, 100))
    writer.end(100)
    monkeypatch.setattr(os, 'fsync', note)
    names = sorted(path.name for path in writer.finish().iterdir())
    assert names == ['e1.mcap', 'metadata.yaml']
    assert sorted(synchronised[:2]) == names
    assert synchronised[2] == 'e1'
    assert sorted(synchronised[3:]) == ['.unfinished', 'practice']


def test_abandoned_bag_stays_among_the_unfinished_and_can_be_read(writer, tmp_path):
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100))
    writer.abandon()
    assert content(tmp_path / 'practice' / '.unfinished' / 'e1') == [('/robot_0/observation', 100)]
    assert writer.episode_id == ''
    writer.abandon()


def test_bag_of_a_simulator_waits_for_the_truth_of_every_observation_however_late(tmp_path):
    """A subscriber that finds a publisher late receives its history after everything else."""
    needs = recorded_episode(lockstep=False, reward=False, simulated=True)
    writer = EpisodeBagWriter(tmp_path, '', needs=needs)
    event = topics.EPISODE_EVENT
    writer.start('e1', 'practice', 100)
    write(writer, (event, 100), (OBSERVATION, 100), (ACTION, 100), (OBSERVATION, 200))
    writer.end(200)
    write(writer, (event, 200), (OUTCOME, 200))
    assert writer.gaps == [Gap('world_state', 2, stamp=100)]
    write(writer, (topics.WORLD_STATE, 200))
    assert writer.gaps == [Gap('world_state', 1, stamp=100)]
    write(writer, (topics.WORLD_STATE, 100))
    assert writer.is_whole
    writer.abandon()


def test_next_episode_closes_one_that_never_ended(writer, tmp_path):
    writer.start('e1', 'practice', 100)
    writer.start('e2', 'practice', 500)
    assert finish(writer, 500)
    assert (finished(tmp_path), unfinished(tmp_path)) == (['e2'], ['e1'])


def test_what_a_crash_has_left_is_set_aside_and_not_lost(writer, tmp_path):
    for name in ('e1', 'e1.torn0'):
        (tmp_path / 'practice' / '.unfinished' / name).mkdir(parents=True)
    writer.start('e1', 'practice', 100)
    assert unfinished(tmp_path) == ['e1', 'e1.torn0', 'e1.torn1']
    finish(writer, 100)
    assert finished(tmp_path) == ['e1']


def test_finished_episode_is_never_overwritten(writer):
    writer.start('e1', 'practice', 100)
    finish(writer, 100)
    with pytest.raises(FileExistsError, match=r'recorder: expected a new episode, got .*e1'):
        writer.start('e1', 'practice', 900)


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / 'practice').write_text('a file where the folder should be')
    with pytest.raises(OSError, match='practice'):
        EpisodeBagWriter(tmp_path, '', needs=NEEDS).start('e1', 'practice', 100)


@pytest.mark.parametrize('topic', topics.TABLE, ids=lambda topic: topic.name)
def test_every_topic_of_the_table_can_be_recorded(topic):
    definition, digest = Definitions().of(topic.type)
    assert definition
    assert digest.startswith('RIHS01_')


def test_an_unknown_message_type_is_refused():
    with pytest.raises(ValueError, match="expected a known message type, got 'a/msg/B'"):
        Definitions().of('a/msg/B')


def test_episode_that_is_recorded_is_the_episode_that_is_read(tmp_path, embodiment):
    """The writer takes serialised messages; here those of a bag that other code has written."""
    episode = make_episode(embodiment, steps=3)
    source = write_bag(episode, tmp_path / 'source')
    needs = recorded_episode(lockstep=True, reward=True, simulated=True)
    needs = replace(needs, each=needs.each - {'joint_states'}, last=needs.last - {'joint_states'})
    writer = EpisodeBagWriter(tmp_path, '/robot_0', needs=needs)
    writer.start('e1', 'practice', int(episode.stamps[0]))
    by_name = {topic.name: topic for topic in topics.TABLE}
    with Reader(source) as reader:
        for connection, received, data in reader.messages():
            topic = by_name[connection.topic.split('/')[-1]]
            if topic is topics.OUTCOME:
                writer.end(int(episode.stamps[-1]))
            writer.write(topic, data, received)
    assert writer.is_whole
    read = read_episode(writer.finish(), embodiment)
    for field in fields(episode):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(episode, field.name))


def test_a_bag_may_name_topics_without_a_message(tmp_path):
    writer = EpisodeBagWriter(tmp_path, '/robot_0', needs=NEEDS, always=(topics.EXECUTED,))
    writer.start('e1', 'practice', 100)
    finish(writer, 200)
    with Reader(tmp_path / 'practice' / 'e1') as reader:
        assert '/robot_0/executed' in {c.topic for c in reader.connections}


def test_commands_without_a_header_are_written_as_they_arrive(writer):
    driver = topics.command_topic(make_arm('forward_position_controller').command)
    writer.start('e1', 'practice', 100)
    write(writer, (driver, 10**18))
    assert ('/robot_0/driver/command', 10**18) in finish(writer, 200)


@pytest.mark.parametrize(
    ('episode_id', 'kind'),
    [
        ('e1', '../../../x'),
        ('e1', '/tmp'),
        ('e1', ''),
        ('/tmp/e1', 'practice'),
        ('../e1', 'practice'),
        ('', 'practice'),
    ],
)
def test_a_start_whose_words_would_leave_the_run_is_refused(writer, tmp_path, episode_id, kind):
    """The episode under way goes on."""
    writer.start('e0', 'practice', 100)
    with pytest.raises(ValueError, match='expected'):
        writer.start(episode_id, kind, 100)
    assert writer.episode_id == 'e0'
    assert {path.name for path in tmp_path.iterdir()} == {'practice'}


@pytest.mark.parametrize('subdir', ['../x', '/tmp/x', 'a/b', '.x'])
def test_a_folder_outside_of_the_episodes_is_refused(tmp_path, subdir):
    with pytest.raises(ValueError, match='expected a name'):
        EpisodeBagWriter(tmp_path, '/robot_0', needs=NEEDS, subdir=subdir)


def test_a_message_too_short_for_its_header_is_refused(writer):
    writer.start('e1', 'practice', 100)
    with pytest.raises(ValueError, match='expected a header of 12 bytes, got 6 bytes'):
        writer.write(ACTION, bytes(6), 1)


def test_a_finished_bag_has_checksums_over_all_of_its_bytes(writer):
    writer.start('e1', 'practice', 100)
    write(writer, (OBSERVATION, 100), (OUTCOME, 100))
    writer.end(100)
    (file,) = writer.finish().glob('*.mcap')
    data = bytearray(file.read_bytes())
    data[data.index(b'rest')] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match='expected the checksum'):
        check_file(file)
