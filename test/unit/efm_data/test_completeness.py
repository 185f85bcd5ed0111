"""When an episode is whole: one table of cases for the recorder and the reader."""

from __future__ import annotations

from bags import make_episode, write_bag
from efm_core import topics
from efm_data.bag_writer import EpisodeBagWriter, stamp_of
from efm_data.completeness import (
    describe,
    find_gaps,
    Gap,
    readable_episode,
    recorded_episode,
    Requirements,
)
from efm_data.episodes import find_bags, read_episode, TornBag
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()
FIRST = 100
LAST = 130
REAL_TIME = recorded_episode(lockstep=False, reward=True, simulated=True)
LOCKSTEP = recorded_episode(lockstep=True, reward=True, simulated=True)
CHUNKS = recorded_episode(lockstep=True, reward=False, simulated=False, chunk=3)
CAMERA = recorded_episode(lockstep=True, reward=False, simulated=False, camera='image')
DEMONSTRATION = readable_episode(own_observations=True, labelled=False, sent=frozenset())
PICTURES = readable_episode(own_observations=False, labelled=True, sent=frozenset())
EACH = (100, 110, 120)
ALL = (*EACH, LAST)
WHOLE = {
    'observation': ALL,
    'action': ALL,
    'command': EACH,
    'steps_to_go': ALL,
    'world_state': ALL,
    'joint_states': ALL,
    'image': ALL,
    'outcome': (LAST,),
    'episode_event': (FIRST, LAST),
}


def gaps(needs: Requirements, steps: int = 0, **changes: tuple[int, ...]) -> list[Gap]:
    """Return the gaps of the whole episode above after some changes."""
    stamps = {**WHOLE, **changes}
    return find_gaps(stamps, first=FIRST, last=LAST, needs=needs, steps=steps)


@pytest.mark.parametrize('needs', [REAL_TIME, LOCKSTEP, CHUNKS, CAMERA, DEMONSTRATION, PICTURES])
def test_an_episode_with_every_message_is_whole(needs):
    assert gaps(needs, steps=3) == []


@pytest.mark.parametrize(
    ('needs', 'changes', 'expected'),
    [
        # The first picture was lost before START arrived; only lockstep loses none.
        (REAL_TIME, {'observation': (110, 120, 130), 'action': (110, 120, 130)}, []),
        (
            LOCKSTEP,
            {'observation': (110, 120, 130), 'action': (110, 120, 130)},
            [Gap('action', 1, stamp=100), Gap('observation', 1, stamp=100)],
        ),
        # One of the two for an observation is missing.
        (REAL_TIME, {'observation': (110, 120, 130)}, [Gap('observation', 1, stamp=100)]),
        (REAL_TIME, {'action': (100, 130)}, [Gap('action', 2, stamp=110)]),
        (REAL_TIME, {'action': (100, 110, 120)}, []),  # for the last one there may be none
        # The last observation.
        (REAL_TIME, {'observation': EACH}, [Gap('observation', 1, stamp=LAST)]),
        (REAL_TIME, {'outcome': ()}, [Gap('outcome', 1, stamp=LAST)]),
        (REAL_TIME, {'episode_event': (FIRST,)}, [Gap('episode_event', 1, stamp=LAST)]),
        (REAL_TIME, {'steps_to_go': EACH}, [Gap('steps_to_go', 1, stamp=LAST)]),
        # Simulator truth arrives for every picture, whenever its publisher was found.
        (REAL_TIME, {'world_state': EACH}, [Gap('world_state', 1, stamp=LAST)]),
        (REAL_TIME, {'world_state': ()}, [Gap('world_state', 4, stamp=FIRST)]),
        (LOCKSTEP, {'world_state': (130,)}, [Gap('world_state', 3, stamp=FIRST)]),
        # In lockstep nothing may be lost; in real time these topics may lose messages.
        (LOCKSTEP, {'joint_states': ()}, [Gap('joint_states', 4, stamp=FIRST)]),
        (REAL_TIME, {'joint_states': (100,)}, []),
        (LOCKSTEP, {'command': (100, 120)}, [Gap('command', 1, stamp=110)]),
        (REAL_TIME, {'command': ()}, []),
        (LOCKSTEP, {'steps_to_go': (100, 130)}, [Gap('steps_to_go', 2, stamp=110)]),
        (REAL_TIME, {'steps_to_go': (130,)}, []),
        (CAMERA, {'image': EACH}, [Gap('image', 1, stamp=LAST)]),
        (LOCKSTEP, {'image': ()}, []),
        # A message whose observation is missing.
        (
            LOCKSTEP,
            {'steps_to_go': (*ALL, 105)},
            [
                Gap('action', 1, stamp=105),
                Gap('command', 1, stamp=105),
                Gap('joint_states', 1, stamp=105),
                Gap('observation', 1, stamp=105),
                Gap('world_state', 1, stamp=105),
            ],
        ),
        (REAL_TIME, {'steps_to_go': (*ALL, 105)}, []),
        # Chunks have commands between the observations.
        (CHUNKS, {'command': (100, 103, 106, 110, 120)}, []),
        (CHUNKS, {'command': (103, 106, 110, 120)}, [Gap('command', 1, stamp=100)]),
        # Pictures between the control steps of a simulator do no harm.
        (REAL_TIME, {'world_state': (95, *ALL, 105, 140)}, []),
        # Messages of other episodes count for nothing.
        (REAL_TIME, {'observation': (90, *ALL, 140), 'action': (90, *ALL, 140)}, []),
        # Camera pictures in place of observations: any of them may be lost.
        (PICTURES, {'observation': (100, 120, 130)}, []),
        (DEMONSTRATION, {'observation': (100, 120, 130)}, [Gap('observation', 1, stamp=110)]),
        (PICTURES, {'outcome': ()}, [Gap('outcome', 1, stamp=LAST)]),
        (DEMONSTRATION, {'outcome': ()}, []),
        (PICTURES, {'observation': (), 'action': ()}, [Gap('observation', 1, stamp=LAST)]),
    ],
)
def test_what_is_missing_is_named(needs, changes, expected):
    assert gaps(needs, **changes) == expected


def test_fewer_observations_than_the_outcome_counts_actions_are_missing():
    lost = dict.fromkeys(('observation', 'action'), (120, 130))
    assert gaps(REAL_TIME, steps=1, **lost) == []
    assert gaps(REAL_TIME, steps=3, **lost) == [Gap('observation', 2)]


def test_as_many_actions_must_be_executed_as_the_outcome_counts():
    """A recorder that starts again receives the earlier actions, but not the earlier commands."""
    assert gaps(REAL_TIME, steps=1, command=(110,)) == []
    assert gaps(REAL_TIME, steps=3, command=(120, 125)) == [Gap('command', 2)]
    assert gaps(REAL_TIME, steps=0, command=()) == []  # a fault, or a robot without a guard
    reader = readable_episode(own_observations=True, labelled=True, sent=frozenset({'command'}))
    assert gaps(reader, steps=3, command=EACH) == []
    assert gaps(reader, steps=3, command=(100, 120)) == [Gap('command', 1)]
    assert gaps(PICTURES, steps=3, command=()) == []  # a bag that names no such topic


def test_a_chunk_was_executed_if_one_of_its_steps_was():
    due = {100: (100, 103, 106), 110: (110, 113, 116), 120: (120, 123, 126)}
    stamps = {**WHOLE, 'command': (103, 106, 123)}
    whole = {'first': FIRST, 'last': LAST, 'needs': REAL_TIME, 'due': due}
    assert find_gaps(stamps, steps=2, **whole) == []
    assert find_gaps(stamps, steps=3, **whole) == [Gap('command', 1)]


def test_a_driver_without_stamps_has_the_topic_executed():
    needs = recorded_episode(
        lockstep=False, reward=True, simulated=False, command='cmd', sent='executed'
    )
    assert gaps(needs, steps=3, executed=EACH) == []
    assert gaps(needs, steps=3) == [Gap('executed', 3)]


def test_an_episode_without_an_action_needs_its_only_observation():
    only = {'observation': (100,), 'action': (), 'outcome': (100,)}
    needs = readable_episode(own_observations=True, labelled=True, sent=frozenset({'command'}))
    assert find_gaps(only, first=100, last=100, needs=needs) == []
    assert find_gaps({}, first=100, last=100, needs=needs) == [
        Gap('observation', 1, stamp=100),
        Gap('outcome', 1, stamp=100),
    ]


def test_gaps_are_described_in_one_line():
    assert describe([Gap('action', 2, stamp=110), Gap('observation', 1)]) == (
        'missing: action (2, first at stamp 110), observation (1, counted by the outcome)'
    )


@pytest.mark.parametrize('lockstep', [True, False])
@pytest.mark.parametrize('reward', [True, False])
@pytest.mark.parametrize('simulated', [True, False])
def test_the_recorder_asks_for_everything_that_the_reader_needs(lockstep, reward, simulated):
    recorder = recorded_episode(lockstep=lockstep, reward=reward, simulated=simulated)
    reader = readable_episode(own_observations=True, labelled=True, sent=frozenset({'command'}))
    assert reader.each <= recorder.each
    assert reader.last <= recorder.last
    assert reader.witnesses <= recorder.witnesses
    assert reader.sent <= recorder.sent


TOPICS = {topic.name: topic for topic in topics.TABLE}


def messages_of(bag):
    """Return topic name and data of every message in a bag."""
    with Reader(bag) as reader:
        return [(c.topic.split('/')[-1], data) for c, _, data in reader.messages()]


def shuffle(messages, seed, lost=()):
    """Return the messages in another order; only START and END keep theirs, as on one topic."""
    order = np.random.default_rng(seed).permutation(len(messages)).tolist()
    events = [number for number, (name, _) in enumerate(messages) if name == 'episode_event']
    places = sorted(order.index(event) for event in events)
    for place, event in zip(places, events, strict=True):
        order[place] = event
    return [messages[number] for number in order if number not in set(lost) - set(events)]


def record(messages, folder, needs, steps=4):
    """Return the bag that a recorder calls whole, or None; the messages arrive in this order."""
    writer = EpisodeBagWriter(folder, '/robot_0', needs=needs)
    for name, data in messages:
        if name == 'episode_event' and not writer.episode_id:
            writer.start('e1', 'practice', stamp_of(data))
        elif name == 'episode_event':
            writer.end(stamp_of(data))
            writer.expect_steps(steps)
        writer.write(TOPICS[name], data, 1)
    if writer.is_whole:
        return writer.finish()
    assert writer.gaps
    writer.abandon()
    return None


@pytest.mark.parametrize('seed', range(16))
def test_whatever_the_recorder_calls_whole_the_reader_accepts(tmp_path, seed):
    """In every order of arrival, with up to three lost messages."""
    messages = messages_of(write_bag(make_episode(EMBODIMENT), tmp_path / 'source'))
    lost = np.random.default_rng(seed).integers(0, len(messages), size=seed % 4).tolist()
    needs = recorded_episode(lockstep=False, reward=seed % 2 == 0, simulated=seed % 3 == 0)
    bag = record(shuffle(messages, seed, lost), tmp_path / 'recorded', needs)
    if bag is None:
        assert not find_bags(tmp_path / 'recorded' / 'practice')
    else:
        assert len(read_episode(bag, EMBODIMENT)) == 4


def test_a_bag_whose_messages_arrive_in_any_order_is_whole(tmp_path):
    messages = messages_of(write_bag(make_episode(EMBODIMENT), tmp_path / 'source'))
    for seed in range(3):
        bag = record(shuffle(messages, seed), tmp_path / f'recorded_{seed}', REAL_TIME)
        found = read_episode(bag, EMBODIMENT).observations
        assert found.equals(make_episode(EMBODIMENT).observations)


def test_in_real_time_an_episode_that_lost_its_first_picture_begins_at_the_second(tmp_path):
    episode = make_episode(EMBODIMENT)
    earlier = int(episode.stamps[0]) - 10**8
    source = write_bag(episode, tmp_path / 'source', start=earlier)
    bag = record(messages_of(source), tmp_path / 'recorded', REAL_TIME)
    np.testing.assert_array_equal(read_episode(bag, EMBODIMENT).stamps, episode.stamps)


def test_neither_takes_an_episode_with_fewer_observations_than_executed_actions(tmp_path):
    source = write_bag(make_episode(EMBODIMENT), tmp_path / 'source')
    lost = {'observation': 1, 'action': 1}
    messages = []
    for name, data in messages_of(source):
        if lost.get(name):
            lost[name] -= 1
        else:
            messages.append((name, data))
    assert record(messages, tmp_path / 'recorded', REAL_TIME) is None
    bag = record(messages, tmp_path / 'believed', REAL_TIME, steps=3)
    with pytest.raises(TornBag, match=r'observation \(1, counted'):
        read_episode(bag, EMBODIMENT)


@pytest.mark.parametrize('missing', [1, 4])
def test_neither_takes_an_episode_with_fewer_commands_than_executed_actions(tmp_path, missing):
    """As after a recorder that was killed: commands are not repeated in real time."""
    episode = make_episode(EMBODIMENT)
    late = tuple(int(stamp) for stamp in episode.stamps[missing:])
    source = write_bag(episode, tmp_path / 'source', commands=late)
    assert record(messages_of(source), tmp_path / 'recorded', REAL_TIME) is None
    bag = record(messages_of(source), tmp_path / 'believed', REAL_TIME, steps=4 - missing)
    if missing < 4:
        with pytest.raises(TornBag, match=rf'command \({missing}, counted by the outcome\)'):
            read_episode(bag, EMBODIMENT)


def test_an_action_that_the_guard_rejected_is_not_missing(tmp_path):
    episode = make_episode(EMBODIMENT)
    sent = tuple(int(stamp) for stamp in episode.stamps[1:])
    source = write_bag(episode, tmp_path / 'source', commands=sent, steps=3)
    bag = record(messages_of(source), tmp_path / 'recorded', REAL_TIME, steps=3)
    assert read_episode(bag, EMBODIMENT).stamps.tolist() == list(sent)
