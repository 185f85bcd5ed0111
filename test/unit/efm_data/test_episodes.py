from dataclasses import fields, replace
import math
import os
import re
import shutil

import bags
from bags import BagWriter, make_episode, write_bag
from efm_core.embodiment import Embodiment, Proprioception
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.observation import Observation
from efm_data.episodes import find_bags, read_all, read_episode, read_episodes, TornBag
from efm_data.mcap_file import seal
import numpy as np
import pytest
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()


def assert_same(found: Episode, expected: Episode) -> None:
    for field in fields(Episode):
        left = getattr(found, field.name)
        right = getattr(expected, field.name)
        assert type(left) is type(right), field.name
        if isinstance(left, Observation):
            assert left.equals(right)
        else:
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, field.name


@pytest.mark.parametrize('plugin', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('namespace', ['/robot_0', '', '/lab/table_7'])
def test_an_episode_comes_back_from_its_bag_as_it_was(tmp_path, plugin, namespace):
    episode = make_episode(EMBODIMENT, index=7, steps=5)
    assert_same(
        read_episode(write_bag(episode, tmp_path / 'bag', namespace, plugin), EMBODIMENT), episode
    )


def test_a_bag_says_which_actions_were_deliberate_mistakes(tmp_path):
    episode = make_episode(EMBODIMENT, steps=3, perturbed=np.array([False, True, False]))
    assert_same(read_episode(write_bag(episode, tmp_path / 'bag'), EMBODIMENT), episode)


def test_raw_pictures_serve_where_no_observation_was_recorded(tmp_path):
    episode = make_episode(EMBODIMENT)
    bag = write_bag(episode, tmp_path / 'bag', without=('observation',))
    assert_same(read_episode(bag, EMBODIMENT), episode)


def two_cameras() -> Embodiment:
    """Return a robot with a second camera of another size, and a measured state."""
    camera = EMBODIMENT.cameras[0]
    wrist = replace(
        camera, name='wrist', topic='wrist/image', role='wrist', height=8, width=12, size=(8, 12)
    )
    state = (Proprioception('joint_positions', ('elbow', 'finger')),)
    return replace(EMBODIMENT, cameras=(camera, wrist), proprioception=state)


def with_parts(robot: Embodiment) -> Episode:
    """Return an episode of that robot."""
    episode = make_episode(robot)
    random = np.random.default_rng(1)
    count = len(episode) + 1
    images = tuple(random.integers(0, 256, (count, *s, 3), np.uint8) for s in robot.image_sizes)
    state = random.normal(size=(count, 2)).astype(np.float32)
    return replace(episode, observations=Observation(images, state))


@pytest.mark.parametrize('without', [(), ('observation',)], ids=['own', 'raw'])
def test_several_cameras_and_the_measured_state_come_back(tmp_path, without):
    robot = two_cameras()
    episode = with_parts(robot)
    bag = write_bag(episode, tmp_path / 'bag', without=without, robot=robot)
    assert_same(read_episode(bag, robot), episode)


@pytest.mark.parametrize(
    ('without', 'said'),
    [
        (('observation_wrist',), 'missing: observation_wrist (5, first at stamp 100000000)'),
        (('proprioception',), 'missing: proprioception (5, first at stamp 100000000)'),
        (('observation', 'wrist/image'), 'wrist: expected one at most 0.1 s older'),
        (('observation', 'joint_states'), 'joint_positions.elbow, joint_positions.finger: expect'),
    ],
)
def test_a_bag_without_a_part_of_its_observations_is_refused(tmp_path, without, said):
    robot = two_cameras()
    bag = write_bag(with_parts(robot), tmp_path / 'bag', without=without, robot=robot)
    with pytest.raises(TornBag, match=re.escape(said)):
        read_episode(bag, robot)


def test_proprioception_of_another_robot_is_refused(tmp_path):
    robot = two_cameras()
    bag = write_bag(with_parts(robot), tmp_path / 'bag', robot=robot)
    other = replace(robot, proprioception=(Proprioception('joint_positions', ('elbow', 'b')),))
    with pytest.raises(ValueError, match='expected embodiment'):
        read_episode(bag, other)


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
    assert found.observations.equals(episode.observations[[0, 2, 3]])


def write_events_and_steps(bag, episode, commanded, ends=True):
    """Write a demonstration by hand; only the actions ``commanded`` pass the guard."""
    about = {
        'episode_id': episode.episode_id,
        'kind': 'demonstration',
        'instruction': episode.instruction,
        'embodiment_hash': episode.embodiment_hash,
    }
    bag.write('episode_event', episode.stamps[0], event=1, **about)
    for t, stamp in enumerate(episode.stamps):
        image = episode.observations.images[0][t]
        shape = {'height': 16, 'width': 16, 'step': 48, 'encoding': 'rgb8'}
        bag.write('image', stamp, data=image.ravel(), **shape)
        k = min(t, len(episode) - 1)
        bag.write('action', stamp, tokens=episode.tokens[k], values=episode.actions[k])
        if t in commanded:
            bag.write('command', stamp)
    if ends:
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
    wide = Observation.of(np.zeros((5, 16, 20, 3), np.uint8))
    bag = write_bag(replace(episode, observations=wide), tmp_path / 'bag')
    with pytest.raises(ValueError, match='image of table: expected shape'):
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


def test_bytes_of_a_sealed_bag_that_changed_are_refused_and_not_learned_from(tmp_path):
    """A picture has a checksum of its own, an action has none."""
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag')
    (file,) = bag.glob('*.mcap')
    seal(file)
    data = bytearray(file.read_bytes())
    data[data.index(b'policy\0') + 60] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(TornBag, match='damaged'):
        read_episode(bag, EMBODIMENT)


WRONG = {
    'nan': ({'actions': (1, math.nan)}, r'step 1: action.values: expected finite'),
    'infinite': ({'actions': (2, math.inf)}, r'step 2: action.values: expected finite'),
    'out_of_range': ({'actions': (0, 1.0)}, r'step 0: action.values: expected values in'),
    'other_than_its_tokens': ({'actions': (0, 0.0012)}, 'expected the values of its tokens'),
    'negative_token': ({'tokens': (3, -1)}, r'step 3: action.tokens: expected 0 or more'),
    'large_token': ({'tokens': (3, 11)}, r'step 3: action.tokens: .* below \[11, 11\], got'),
    'probability_above_1': ({'log_probs': (1, 0.5)}, r'step 1: log_probability: expected 0 or'),
    'nan_probability': ({'log_probs': (1, math.nan)}, r'step 1: log_probability: expected 0 or'),
    'infinite_steps_to_go': ({'steps_to_go': (2, math.inf)}, r'step 2: steps_to_go: expected 0'),
    'negative_steps_to_go': ({'steps_to_go': (2, -1.0)}, r'step 2: steps_to_go: expected 0'),
    'blank_instruction': ({'instruction': '  '}, r'instruction: expected a sentence'),
    'long_instruction': ({'instruction': 'a' * 501}, r'instruction: expected at most 500'),
    'control_character': ({'instruction': 'push\x1b[2J'}, r'instruction: expected printable'),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_value_that_the_embodiment_does_not_allow_is_refused_with_bag_and_step(tmp_path, name):
    episode = make_episode(EMBODIMENT)
    changes, reason = WRONG[name]
    for field, change in changes.items():
        value = change
        if field != 'instruction':
            value = getattr(episode, field).copy()
            value[change[0]] = change[1]
        episode = replace(episode, **{field: value})
    bag = write_bag(episode, tmp_path / 'bag')
    with pytest.raises(ValueError, match=reason) as error:
        read_episode(bag, EMBODIMENT)
    assert f'{bag}: episode {episode.episode_id}' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('count', [1, 3])
def test_an_action_with_another_number_of_tokens_is_refused(tmp_path, count):
    episode = make_episode(EMBODIMENT)
    bag = write_bag(
        replace(episode, tokens=np.zeros((len(episode), count), np.int64)), tmp_path / 'bag'
    )
    with pytest.raises(ValueError, match=f'action.tokens: expected 2 tokens, got {count}'):
        read_episode(bag, EMBODIMENT)


def test_a_demonstration_may_exceed_the_range_and_leave_its_tokens_out(tmp_path):
    """Stage 1 reports what it clips, and refuses too much of it."""
    episode = make_episode(EMBODIMENT, kind=Kind.DEMONSTRATION)
    wide = episode.actions.copy()
    wide[1] = 1.0
    episode = replace(episode, actions=wide, tokens=np.zeros((len(episode), 0), np.int64))
    found = read_episode(write_bag(episode, tmp_path / 'bag'), EMBODIMENT)
    np.testing.assert_array_equal(found.actions, wide)


def test_a_picture_header_that_claims_a_huge_size_is_refused(tmp_path):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag')
    (file,) = bag.glob('*.mcap')
    data = bytearray(file.read_bytes())
    place = data.index(b'IHDR') + 4
    data[place : place + 8] = (60_000).to_bytes(4, 'big') * 2
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r'picture at stamp .*60000 x 60000') as error:
        read_episode(bag, EMBODIMENT)
    assert 'episode episode-0' in str(error.value)


def pipe(bag):
    os.mkfifo(bag / 'bag.mcap')


def dangling_link(bag):
    (bag / 'bag.mcap').symlink_to('nowhere')


def device(bag):
    (bag / 'bag.mcap').symlink_to('/dev/zero')


@pytest.mark.parametrize('put', [pipe, dangling_link, device])
def test_only_regular_files_are_opened(tmp_path, put):
    """To open a pipe waits for ever; a device never ends."""
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag')
    (bag / 'bag.mcap').unlink()
    put(bag)
    with pytest.raises(TornBag, match=r'expected files, got .*bag.mcap') as error:
        read_episode(bag, EMBODIMENT)
    assert str(bag) in str(error.value)


def test_a_topic_of_another_type_is_refused_with_both_types(tmp_path, monkeypatch):
    monkeypatch.setitem(bags.TYPES, 'steps_to_go', 'sensor_msgs/msg/JointState')
    with BagWriter(tmp_path / 'bag') as bag:
        write_events_and_steps(bag, make_episode(EMBODIMENT), commanded=())
        bag.write('steps_to_go', 1)
    with pytest.raises(TornBag, match='topic steps_to_go: expected efm_interfaces'):
        read_episode(tmp_path / 'bag', EMBODIMENT)


@pytest.mark.parametrize('namespace', ['/robot_0', ''])
def test_an_absolute_camera_topic_is_outside_of_the_namespace(tmp_path, monkeypatch, namespace):
    name = '/camera/camera/color/image_raw'
    robot = replace(EMBODIMENT, cameras=(replace(EMBODIMENT.cameras[0], topic=name),))
    episode = make_episode(robot)
    monkeypatch.setitem(bags.TYPES, name, 'sensor_msgs/msg/Image')
    monkeypatch.setattr(bags, 'IMAGE', name)
    bag = write_bag(episode, tmp_path / 'bag', namespace, without=('observation',))
    assert_same(read_episode(bag, robot), episode)


def test_storage_files_beside_folders_are_bags_too(tmp_path):
    for index in range(2):
        bag = write_bag(make_episode(EMBODIMENT, index), tmp_path / f'{index}')
    next(bag.glob('*.mcap')).rename(tmp_path / 'loose.mcap')
    shutil.rmtree(bag)
    (tmp_path / 'note.txt').write_text('')
    assert [path.name for path in find_bags(tmp_path)] == ['0', 'loose.mcap']
    assert [e.index for e in read_episodes(tmp_path, EMBODIMENT)] == [0, 1]


def test_a_definition_that_nobody_needs_is_not_parsed(tmp_path):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'bag', without=('joint_states',))
    episode = read_episode(bag, EMBODIMENT)
    other = tmp_path / 'other'
    with Reader(bag) as reader, Writer(other, version=9, storage_plugin=StoragePlugin.MCAP) as w:
        union = MessageDefinition(MessageDefinitionFormat.IDL, 'union U switch(long) {};')
        stranger = w.add_connection('/robot_0/x', 'a/msg/U', msgdef=union.data, rihs01='x')
        w.write(stranger, 1, b'')
        made = {
            c.id: w.add_connection(c.topic, c.msgtype, msgdef=c.msgdef.data, rihs01=c.digest)
            for c in reader.connections
        }
        for connection, time, data in reader.messages():
            w.write(made[connection.id], time, data)
    assert_same(read_episode(other, EMBODIMENT), episode)


def two_episodes(path, second_ends):
    """Write two demonstrations; the second may lack its END."""
    first = make_episode(EMBODIMENT, 0, 2)
    second = make_episode(EMBODIMENT, 1, 2)
    second = replace(second, stamps=second.stamps + 10**9)
    with BagWriter(path) as bag:
        write_events_and_steps(bag, first, commanded=(0, 1))
        write_events_and_steps(bag, second, commanded=(0, 1), ends=second_ends)
    return path


def test_whole_episodes_beside_one_that_never_ended_are_used_and_the_log_says_so(tmp_path, capsys):
    bag = two_episodes(tmp_path / 'bag', second_ends=False)
    assert [e.episode_id for e in read_all(bag, EMBODIMENT)] == ['episode-0']
    said = capsys.readouterr().err
    assert 'END event of episode episode-1' in said
    assert str(bag) in said


def test_a_bag_in_several_files_needs_no_storage_identifier(tmp_path):
    """The tool `ros2 bag reindex` leaves it empty."""
    episode = make_episode(EMBODIMENT)
    bag = write_bag(episode, tmp_path / 'bag')
    about = bag / 'metadata.yaml'
    with Reader(bag) as reader:
        messages = [(c, time, data) for c, time, data in reader.messages()]
        parts = [messages[:9], messages[9:]]
        for number, part in enumerate(parts):
            split(bag / f'part{number}', part)
            (bag / f'part{number}' / f'part{number}.mcap').rename(bag / f'bag_{number}.mcap')
            shutil.rmtree(bag / f'part{number}')
    (bag / 'bag.mcap').unlink()
    text = about.read_text().replace('storage_identifier: mcap', "storage_identifier: ''")
    lines = text.replace('- bag.mcap', '- bag_0.mcap\n  - bag_1.mcap')
    assert lines.count('bag_1.mcap') == 1
    about.write_text(lines)
    assert_same(read_episode(bag, EMBODIMENT), episode)


def split(path, part):
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        made = {}
        for c, time, data in part:
            if c.id not in made:
                made[c.id] = writer.add_connection(
                    c.topic, c.msgtype, msgdef=c.msgdef.data, rihs01=c.digest
                )
            writer.write(made[c.id], time, data)
