import errno
import os
import shutil

from bags import make_episode, write_bag
from efm_core.episode import Kind, Outcome, Termination
from efm_data import bag_reader
from efm_data.ingest import Inbox, IngestLog, is_current, is_usable
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / 'inbox', tmp_path / 'quarantine', embodiment=EMBODIMENT)


def test_only_bags_that_are_finished_and_not_known_are_read(tmp_path, inbox):
    for index, name in enumerate(('a', 'b', '.c')):
        write_bag(make_episode(EMBODIMENT, index), tmp_path / 'inbox' / name)
    assert inbox.poll({'a'}).keys() == {'b'}
    (tmp_path / 'inbox' / '.c').rename(tmp_path / 'inbox' / 'c')
    assert inbox.poll({'a', 'b'}).keys() == {'c'}


def test_a_torn_bag_is_set_aside_whole_with_its_reason(tmp_path, inbox):
    bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'inbox' / 'torn')
    (file,) = bag.glob('*.mcap')
    data = file.read_bytes()[:1000]
    file.write_bytes(data)
    assert inbox.poll(set()) == {}
    assert (tmp_path / 'quarantine' / 'torn' / file.name).read_bytes() == data
    assert 'damaged' in (tmp_path / 'quarantine' / 'torn.reason.txt').read_text()
    assert inbox.quarantined == 1
    assert not bag.exists()


def test_a_second_torn_bag_of_the_same_name_takes_nothing_from_the_first(tmp_path, inbox):
    for _ in range(2):
        bag = tmp_path / 'inbox' / 'torn'
        bag.mkdir()
        inbox.poll(set())
    assert inbox.quarantined == 2


def test_a_bag_of_another_robot_is_set_aside(tmp_path, inbox):
    foreign = make_episode(EMBODIMENT, embodiment_hash='0' * 16)
    write_bag(foreign, tmp_path / 'inbox' / 'foreign')
    assert inbox.poll(set()) == {}
    assert 'embodiment' in (tmp_path / 'quarantine' / 'foreign.reason.txt').read_text()


def flip_a_length(bag):
    (file,) = bag.glob('*.mcap')
    data = bytearray(file.read_bytes())
    data[16] ^= 0x40  # the length of the first record becomes 2**62
    file.write_bytes(bytes(data))


def put_a_pipe(bag):
    os.mkfifo(bag / 'more.db3')


def put_a_dangling_link(bag):
    shutil.rmtree(bag)
    bag.symlink_to('nowhere')


def lock(bag):
    (bag / 'bad.mcap').unlink()
    (bag / 'bad.mcap').symlink_to('/proc/1/mem')


def rename_fields(bag):
    (file,) = bag.glob('*.mcap')
    file.write_bytes(file.read_bytes().replace(b'int32[] tokens', b'int32[] tukens'))


def rename_the_identifier(bag):
    (file,) = bag.glob('*.mcap')
    before, *after = file.read_bytes().split(b'efm_interfaces/msg/EpisodeEvent')
    others = [part.replace(b'string episode_id', b'string episode_ix', 1) for part in after]
    file.write_bytes(b'efm_interfaces/msg/EpisodeEvent'.join([before, *others]))


DAMAGES = [
    flip_a_length,
    put_a_pipe,
    put_a_dangling_link,
    lock,
    rename_fields,
    rename_the_identifier,
]


@pytest.mark.parametrize('damage', DAMAGES)
def test_whatever_is_wrong_with_a_bag_it_is_set_aside_and_the_others_are_read(
    tmp_path, inbox, damage
):
    for index, name in enumerate(('bad', 'good')):
        bag = write_bag(make_episode(EMBODIMENT, index), tmp_path / 'inbox' / name)
    damage(tmp_path / 'inbox' / 'bad')
    assert inbox.poll(set()).keys() == {'good'}
    assert inbox.quarantined == 1
    reason = (tmp_path / 'quarantine' / 'bad.reason.txt').read_text()
    assert str(bag.with_name('bad')) in reason
    assert reason.count('\n') == 1


def test_an_exception_of_any_kind_sets_the_bag_aside(tmp_path, inbox, monkeypatch):
    for error in (MemoryError(), RecursionError('deep'), AttributeError('x'), OSError(5, 'I/O')):
        bag = write_bag(make_episode(EMBODIMENT), tmp_path / 'inbox' / type(error).__name__)

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(bag_reader, '_decode', fail)
            assert inbox.poll(set()) == {}
        reason = (tmp_path / 'quarantine' / f'{bag.name}.reason.txt').read_text()
        assert type(error).__name__ in reason


def test_a_machine_with_too_many_open_files_sets_no_bag_aside(tmp_path, inbox, monkeypatch):
    write_bag(make_episode(EMBODIMENT), tmp_path / 'inbox' / 'bag')

    def fail(*_):
        raise OSError(errno.EMFILE, 'Too many open files')

    with monkeypatch.context() as patch:
        patch.setattr(bag_reader, 'check_file', fail)
        with pytest.raises(OSError, match='Too many open files'):
            inbox.poll(set())
    assert inbox.poll(set()).keys() == {'bag'}


def test_a_loose_file_is_set_aside_under_its_name_and_counted(tmp_path, inbox):
    for _ in range(2):
        (tmp_path / 'inbox' / f'{"x" * 240}.mcap').write_bytes(b'no bag')
        assert inbox.poll(set()) == {}
    assert inbox.quarantined == 2


def test_only_the_current_version_is_current_unless_more_is_allowed():
    episode = make_episode(EMBODIMENT, policy_version=3)
    assert [is_current(episode, v, 0) for v in (2, 3, 4)] == [False, True, False]
    assert [is_current(episode, v, 1) for v in (2, 3, 4, 5)] == [False, True, True, False]


def test_evaluations_demonstrations_and_faults_are_not_practice():
    assert is_usable(make_episode(EMBODIMENT))
    assert is_usable(make_episode(EMBODIMENT, termination=Termination.INTERVENTION))
    assert not is_usable(make_episode(EMBODIMENT, kind=Kind.EVALUATION))
    assert not is_usable(make_episode(EMBODIMENT, kind=Kind.DEMONSTRATION))
    assert not is_usable(make_episode(EMBODIMENT, termination=Termination.FAULT))
    assert not is_usable(make_episode(EMBODIMENT, steps=0))


def test_what_a_person_stopped_without_a_label_is_not_learned_from():
    stopped = {'termination': Termination.STOPPED}
    assert not is_usable(make_episode(EMBODIMENT, outcome=Outcome.UNLABELLED, **stopped))
    assert is_usable(make_episode(EMBODIMENT, outcome=Outcome.FAILURE, **stopped))


def test_a_log_is_restored_unchanged():
    log = IngestLog({'b', 'a'}, 5, stale=2, unusable=1)
    assert IngestLog.from_plain(log.to_plain()) == log
