from dataclasses import fields, replace
import math

from bags import BagWriter, make_episode, write_bag
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_data.episodes import find_bags, read_all, read_episode, read_episodes, TornBag
import numpy as np
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()


def assert_same(found: Episode, expected: Episode) -> None:
    for field in fields(Episode):
        left = getattr(found, field.name)
        right = getattr(expected, field.name)
        np.testing.assert_array_equal(left, right, err_msg=field.name)
        assert type(left) is type(right), field.name
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, field.name


@pytest.mark.parametrize('plugin', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('namespace', ['/robot_0', '', '/lab/table_7'])
def test_an_episode_comes_back_from_its_bag_as_it_was(tmp_path, plugin, namespace):
    episode = make_episode(EMBODIMENT, index=7, steps=5)
    assert_same(
        read_episode(write_bag(episode, tmp_path / 'bag', namespace, plugin), EMBODIMENT), episode
    )


def test_raw_pictures_serve_where_no_observation_was_recorded(tmp_path):
    episode = make_episode(EMBODIMENT)
    bag = write_bag(episode, tmp_path / 'bag', without=('observation',))
    assert_same(read_episode(bag, EMBODIMENT), episode)


def test_a_lone_mcap_file_needs_no_metadata(tmp_path):
    episode = make_episode(EMBODIMENT)
    bag = write_bag(episode, tmp_path / 'bag')
    (bag / 'metadata.yaml').unlink()
    assert_same(read_episode(bag, EMBODIMENT), episode)


def test_episodes_come_in_the_order_of_their_index(tmp_path):
    for name, index in (('a', 2), ('b', 0), ('c', 1)):
        write_bag(make_episode(EMBODIMENT, index), tmp_path / name)
    assert [e.index for e in read_episodes(tmp_path, EMBODIMENT)] == [0, 1, 2]


def test_an_episode_begins_at_the_first_observation_after_its_start(tmp_path):
    """In real time the first picture may be lost; a camera may have a clock of its own."""
    episode = make_episode(EMBODIMENT)
    bag = write_bag(episode, tmp_path / 'bag', start=int(episode.stamps[0]) - 12_345)
    assert_same(read_episode(bag, EMBODIMENT), episode)


def test_pictures_before_the_start_belong_to_no_episode(tmp_path):
    episode = make_episode(EMBODIMENT, true_success_per_step=None, true_success=None)
    with pytest.raises(TornBag, match=r'observation \(1, counted'):
        read_episode(write_bag(episode, tmp_path / 'bag', start=150_000_000), EMBODIMENT)


def test_unfinished_bags_are_not_found(tmp_path):
    (tmp_path / '.writing').mkdir()
    (tmp_path / 'note.txt').write_text('')
    assert find_bags(tmp_path) == []


def test_observations_without_a_prediction_have_no_steps_to_go(tmp_path):
    episode = make_episode(EMBODIMENT, steps_to_go=np.full(5, math.nan, np.float32))
    found = read_episode(write_bag(episode, tmp_path / 'bag'), EMBODIMENT)
    assert np.isnan(found.steps_to_go).all()


def test_truth_is_unknown_where_the_world_does_not_publish_it(tmp_path):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag', without=('world_state',))
    found = read_episode(bag, EMBODIMENT)
    assert found.true_success is None
    assert found.true_success_per_step is None


def test_a_demonstration_without_outcome_is_unlabelled(tmp_path):
    episode = make_episode(EMBODIMENT, kind=Kind.DEMONSTRATION, policy_version=0)
    bag = write_bag(episode, tmp_path / 'bag', without=('outcome', 'steps_to_go', 'command'))
    found = read_episode(bag, EMBODIMENT)
    assert (found.outcome, found.termination) == (Outcome.UNLABELLED, Termination.STOPPED)
    assert len(found) == 4


def test_an_observation_whose_action_was_refused_is_left_out(tmp_path):
    episode = make_episode(EMBODIMENT, steps=3)
    with BagWriter(tmp_path / 'bag') as bag:
        write_events_and_steps(bag, episode, commanded=(0, 2))
    found = read_episode(tmp_path / 'bag', EMBODIMENT)
    np.testing.assert_array_equal(found.stamps, episode.stamps[[0, 2, 3]])
    np.testing.assert_array_equal(found.tokens, episode.tokens[[0, 2]])
    np.testing.assert_array_equal(found.observations, episode.observations[[0, 2, 3]])


def write_events_and_steps(bag, episode, commanded):
    """Write a demonstration by hand; only the actions ``commanded`` pass the guard."""
    about = {
        'episode_id': episode.episode_id,
        'kind': 'demonstration',
        'instruction': episode.instruction,
        'embodiment_hash': episode.embodiment_hash,
    }
    bag.write('episode_event', episode.stamps[0], event=1, **about)
    for t, stamp in enumerate(episode.stamps):
        image = episode.observations[t]
        shape = {'height': 16, 'width': 16, 'step': 48, 'encoding': 'rgb8'}
        bag.write('image', stamp, data=image.ravel(), **shape)
        k = min(t, len(episode) - 1)
        bag.write('action', stamp, tokens=episode.tokens[k], values=episode.actions[k])
        if t in commanded:
            bag.write('command', stamp)
    bag.write('episode_event', episode.stamps[-1], event=2, **about)


@pytest.mark.parametrize(
    ('without', 'word'),
    [
        (('episode_event',), 'episode_event'),
        (('outcome',), 'outcome'),
        (('action',), r'action \(4, first at stamp 100000000\)'),
        (('observation', 'image'), r'observation \(1'),
    ],
)
def test_a_bag_with_a_missing_topic_is_torn_and_says_which(tmp_path, without, word):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag', without=without)
    with pytest.raises(TornBag, match=word) as error:
        read_episode(bag, EMBODIMENT)
    assert str(bag) in str(error.value)


def test_a_bag_with_fewer_observations_than_the_outcome_counts_actions_is_torn(tmp_path):
    long = make_episode(EMBODIMENT, steps=5)
    short = make_episode(EMBODIMENT, steps=4)
    stamps = np.append(long.stamps[:4], long.stamps[-1])
    bag = write_bag(replace(short, stamps=stamps), tmp_path / 'bag')
    assert len(read_episode(bag, EMBODIMENT)) == 4
    with BagWriter(tmp_path / 'torn') as writer:
        write_events_and_steps(writer, short, commanded=range(4))
        about = {'episode_id': short.episode_id, 'outcome': 'success', 'steps': 5}
        writer.write('outcome', short.stamps[-1], termination='timeout', **about)
    with pytest.raises(TornBag, match=r'observation \(1, counted by the outcome\)'):
        read_episode(tmp_path / 'torn', EMBODIMENT)


@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize('plugin', ['mcap', 'sqlite3'])
def test_a_bag_cut_short_is_torn(tmp_path, plugin, share):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag', plugin=plugin)
    (file,) = [path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3')]
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(TornBag, match='damaged'):
        read_episode(bag, EMBODIMENT)


def test_a_bag_whose_recording_was_not_finished_is_torn(tmp_path):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag', plugin='sqlite3')
    (bag / 'metadata.yaml').unlink()
    with pytest.raises(TornBag, match='metadata'):
        read_episode(bag, EMBODIMENT)


def test_a_bag_that_lost_one_of_its_files_is_torn(tmp_path):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag')
    about = bag / 'metadata.yaml'
    about.write_text(about.read_text().replace('- bag.mcap\n', '- bag.mcap\n  - bag_1.mcap\n'))
    with pytest.raises(TornBag, match='missing'):
        read_episode(bag, EMBODIMENT)


def test_a_bag_with_unreadable_metadata_is_torn(tmp_path):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag')
    (bag / 'metadata.yaml').write_text('rosbag2_bagfile_information: [')
    with pytest.raises(TornBag, match='YAML'):
        read_episode(bag, EMBODIMENT)


def test_a_flipped_byte_of_a_picture_never_changes_an_episode_silently(tmp_path):
    episode = make_episode(EMBODIMENT)
    bag = write_bag(episode, tmp_path / 'bag')
    (file,) = bag.glob('*.mcap')
    data = bytearray(file.read_bytes())
    data[data.index(b'IDAT') + 40] ^= 0xFF
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match='expected'):
        read_episode(bag, EMBODIMENT)


def test_a_bag_of_another_embodiment_is_refused_with_both_hashes(tmp_path):
    bag = write_bag(make_episode(EMBODIMENT, embodiment_hash='0123456789abcdef'), tmp_path / 'b')
    with pytest.raises(ValueError, match=f'{EMBODIMENT.hash}.*0123456789abcdef') as error:
        read_episode(bag, EMBODIMENT)
    assert not isinstance(error.value, TornBag)


def test_pictures_of_another_size_are_refused(tmp_path):
    episode = make_episode(EMBODIMENT)
    wide = np.zeros((5, 16, 20, 3), np.uint8)
    bag = write_bag(replace(episode, observations=wide), tmp_path / 'bag')
    with pytest.raises(ValueError, match='observation: expected shape'):
        read_episode(bag, EMBODIMENT)


def test_two_episodes_in_one_bag_are_both_read_but_are_not_one(tmp_path):
    first = make_episode(EMBODIMENT, 0, 2)
    second = make_episode(EMBODIMENT, 1, 2)
    second = replace(second, stamps=second.stamps + 10**9)
    with BagWriter(tmp_path / 'bag') as bag:
        for episode in (first, second):
            write_events_and_steps(bag, episode, commanded=(0, 1))
    assert [e.episode_id for e in read_all(tmp_path / 'bag', EMBODIMENT)] == [
        'episode-0',
        'episode-1',
    ]
    with pytest.raises(ValueError, match='expected one episode, got 2'):
        read_episode(tmp_path / 'bag', EMBODIMENT)


def test_a_missing_bag_or_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_episode(tmp_path / 'nowhere', EMBODIMENT)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        list(read_episodes(tmp_path / 'nowhere', EMBODIMENT))


def test_where_commands_carry_no_stamp_what_was_executed_counts(tmp_path):
    episode = make_episode(EMBODIMENT, steps=3)
    with BagWriter(tmp_path / 'bag') as bag:
        write_events_and_steps(bag, episode, commanded=())
        bag.write('executed', episode.stamps[1], values=episode.actions[1])
    found = read_episode(tmp_path / 'bag', EMBODIMENT)
    np.testing.assert_array_equal(found.stamps, episode.stamps[[1, 3]])
