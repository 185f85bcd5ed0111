from dataclasses import fields, replace
import json
import subprocess
import sys

from bags import make_episode, write_bag
from efm_core.embodiment_files import save_embodiment
from efm_core.episode import Kind, Outcome, Termination
from efm_data import labels
from efm_data.labels import (
    attempt_stages,
    Label,
    LabelFile,
    LabelledAttempt,
    LabelSummary,
    newest_labels,
    operator_label,
    read_labelled_attempts,
    summarise_labels,
)
import pytest
from sources import ROOT
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()
BEFORE = 'evaluation_before'
STOPPED = {'termination': Termination.STOPPED}
APPEND = """
import sys
from efm_data.labels import Label, LabelFile
file = LabelFile(sys.argv[1])
for index in range(50):
    file.append(Label('practice', f'{sys.argv[2]}-{index}', success_at=index))
"""


def put(run, index, stage=BEFORE, **changes):
    """Write the bag of an attempt of 4 steps; return the episode."""
    wanted = {'kind': Kind.EVALUATION, **changes}
    episode = make_episode(EMBODIMENT, index, **wanted)
    (run / 'episodes' / stage).mkdir(parents=True, exist_ok=True)
    write_bag(episode, run / 'episodes' / stage / episode.episode_id)
    return episode


def label(index, at=2, stage=BEFORE, **changes):
    return Label(stage, f'episode-{index}', success_at=at, **changes)


def read(run, *stages):
    """Return stage-less identifiers with their label."""
    found = read_labelled_attempts(run, EMBODIMENT, stages or None)
    return [(attempt.episode.episode_id, attempt.success_at) for attempt in found]


def test_a_labelled_attempt_has_an_episode_and_an_index():
    assert [field.name for field in fields(LabelledAttempt)] == ['episode', 'success_at']


def test_labels_come_back_as_they_were_appended(tmp_path):
    written = [
        label(1, at=0, seconds=3.25, time='2026-12-01T10:00:00+00:00'),
        label(2, at=None, by='label_episode'),
        label(1, at=None, withdrawn=True),
    ]
    for one in written:
        LabelFile(tmp_path).append(one)
    assert LabelFile(tmp_path).read() == written


def test_a_run_without_labels_has_none(tmp_path):
    assert LabelFile(tmp_path).read() == []


@pytest.mark.parametrize('cut', [1, 20, 60])
def test_a_cut_last_line_is_no_label_and_hides_no_other(tmp_path, cut, capsys):
    file = LabelFile(tmp_path)
    file.append(label(1))
    file.append(label(2))
    text = file.path.read_bytes()
    file.path.write_bytes(text[:-cut])
    kept = [label(1), label(2)] if cut == 1 else [label(1)]  # 1: only the end of the line
    assert file.read() == kept
    file.append(label(3))
    assert file.read() == [*kept, label(3)]
    assert ('labels.jsonl:2' in capsys.readouterr().err) == (cut > 1)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'success_at': -1}, 'success_at: expected an index from 0'),
        ({'success_at': True}, 'success_at: expected an index from 0'),
        ({'success_at': 1.5}, 'success_at: expected an index from 0'),
        ({'seconds': float('nan')}, 'seconds: expected 0 to'),
        ({'seconds': '3'}, 'seconds: expected 0 to'),
        ({'stage': None}, 'stage: expected text'),
        ({'withdrawn': 1}, 'withdrawn: expected true or false'),
        ({'colour': 'red'}, 'colour'),
    ],
)
def test_a_line_that_is_no_label_is_named(tmp_path, change, said):
    file = LabelFile(tmp_path)
    file.append(label(1))
    plain = json.loads(file.path.read_text())
    with open(file.path, 'a') as lines:
        lines.write(json.dumps({**plain, **change}) + '\n')
    with pytest.raises(ValueError, match=f'labels.jsonl:2: expected a label, got: .*{said}'):
        file.read()


def test_two_processes_append_whole_lines(tmp_path):
    command = [sys.executable, '-c', APPEND, str(tmp_path)]
    running = [subprocess.Popen([*command, name], cwd=ROOT) for name in 'ab']
    assert [process.wait() for process in running] == [0, 0]
    found = [one.episode_id for one in LabelFile(tmp_path).read()]
    for name in 'ab':
        own = [episode for episode in found if episode.startswith(name)]
        assert own == [f'{name}-{index}' for index in range(50)]


def test_the_end_of_the_file_is_read_under_its_lock(tmp_path, monkeypatch):
    file = LabelFile(tmp_path)

    def lock_after_another_process(_, operation):
        assert operation == labels.fcntl.LOCK_EX
        with open(file.path, 'ab') as other:
            other.write(b'{"stage"')  # cut by a crash

    monkeypatch.setattr(labels.fcntl, 'flock', lock_after_another_process)
    file.append(label(1))
    assert file.path.read_text().startswith('{"stage"\n{')
    assert file.read() == [label(1)]


def test_the_newest_label_counts_and_comes_last():
    newest = newest_labels([label(1, 0), label(2, 1), label(1, 3)])
    assert list(newest.values()) == [label(2, 1), label(1, 3)]


def test_the_same_episode_of_two_stages_has_two_labels():
    assert len(newest_labels([label(1), label(1, stage='practice')])) == 2


def test_labelled_attempts_come_with_their_episodes(tmp_path):
    for index in (3, 1, 2):
        put(tmp_path, index)
    put(tmp_path, 1, 'practice', kind=Kind.PRACTICE)
    for one in (label(3, 0), label(1, 4), label(1, None, 'practice')):
        LabelFile(tmp_path).append(one)
    assert read(tmp_path) == [('episode-1', 4), ('episode-3', 0), ('episode-1', None)]
    assert read(tmp_path, 'practice') == [('episode-1', None)]
    (attempt,) = read_labelled_attempts(tmp_path, EMBODIMENT, ['practice'])
    assert len(attempt.episode.observations) == 5


def test_a_withdrawn_label_does_not_count(tmp_path):
    put(tmp_path, 1)
    put(tmp_path, 2)
    for one in (label(1), label(2, 1), label(1, None, withdrawn=True)):
        LabelFile(tmp_path).append(one)
    assert read(tmp_path) == [('episode-2', 1)]
    LabelFile(tmp_path).append(label(1, 3))
    assert read(tmp_path) == [('episode-1', 3), ('episode-2', 1)]


def test_an_attempt_that_a_person_ended_has_the_label_of_its_outcome(tmp_path):
    put(tmp_path, 1, outcome=Outcome.SUCCESS, **STOPPED)
    put(tmp_path, 2, outcome=Outcome.FAILURE, **STOPPED)
    put(tmp_path, 3, outcome=Outcome.UNLABELLED, **STOPPED)
    put(tmp_path, 4, outcome=Outcome.SUCCESS, termination=Termination.SUCCESS_DETECTED)
    assert read(tmp_path) == [('episode-1', 4), ('episode-2', None)]


@pytest.mark.parametrize(
    'demonstrated', [{'kind': Kind.DEMONSTRATION}, {'policy_version': 0}], ids=['kind', 'version']
)
def test_the_label_of_a_demonstrator_is_no_label_of_an_attempt(tmp_path, demonstrated):
    episode = put(tmp_path, 1, 'other', outcome=Outcome.SUCCESS, **STOPPED, **demonstrated)
    assert operator_label('other', episode) is None
    assert read(tmp_path) == []


def test_a_label_of_the_page_replaces_the_one_of_label_episode(tmp_path):
    put(tmp_path, 1, outcome=Outcome.SUCCESS, **STOPPED)
    LabelFile(tmp_path).append(label(1, 2))
    assert read(tmp_path) == [('episode-1', 2)]
    LabelFile(tmp_path).append(label(1, None, withdrawn=True))
    assert read(tmp_path) == []


def test_a_label_without_a_bag_is_named_with_its_remedy(tmp_path):
    put(tmp_path, 1)
    LabelFile(tmp_path).append(label(8))
    with pytest.raises(ValueError, match=f'1 without a bag.* --episodes-subdir {BEFORE} --withdr'):
        read(tmp_path)
    LabelFile(tmp_path).append(label(8, None, withdrawn=True))
    assert read(tmp_path) == []


def test_a_labelled_attempt_whose_bag_is_torn_is_named_with_the_reason(tmp_path, capsys):
    put(tmp_path, 1)
    bag = tmp_path / 'episodes' / BEFORE / 'episode-1'
    next(bag.glob('*.mcap')).write_bytes(b'')
    assert read(tmp_path) == []
    assert 'left out:' in capsys.readouterr().err
    LabelFile(tmp_path).append(label(1))
    with pytest.raises(ValueError, match=r'1 without.*that cannot be used: .*episode-1'):
        read(tmp_path)


def test_an_index_beyond_the_episode_is_refused(tmp_path):
    put(tmp_path, 1)
    LabelFile(tmp_path).append(label(1, 5))
    with pytest.raises(ValueError, match='success_at of 0 to 4, the last observation, got 5'):
        read(tmp_path)


@pytest.mark.parametrize(
    'changes',
    [
        {'kind': Kind.DEMONSTRATION},
        {'outcome': Outcome.UNLABELLED, 'termination': Termination.FAULT},
    ],
    ids=['demonstration', 'fault'],
)
def test_a_label_of_another_episode_than_an_attempt_is_refused(tmp_path, changes):
    put(tmp_path, 1, **changes)
    LabelFile(tmp_path).append(label(1))
    with pytest.raises(ValueError, match='expected an attempt of a policy that no fault ended'):
        read(tmp_path)


def test_a_run_of_another_embodiment_is_refused(tmp_path):
    put(tmp_path, 1)
    LabelFile(tmp_path).append(label(1))
    other = replace(EMBODIMENT, name='other')
    with pytest.raises(ValueError, match=r'cannot be used: .*expected embodiment'):
        read_labelled_attempts(tmp_path, other)
    save_embodiment(EMBODIMENT, tmp_path / 'embodiment.yaml')
    with pytest.raises(ValueError, match=r'embodiment\.yaml: expected embodiment'):
        read_labelled_attempts(tmp_path, other)


def test_a_missing_run_or_stage_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match='episodes'):
        read(tmp_path)
    put(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match='expected a folder'):
        read(tmp_path, 'evaluation_later')


def test_the_folder_of_demonstrations_is_no_stage_of_attempts(tmp_path):
    put(tmp_path, 1)
    put(tmp_path, 2, 'demonstration', kind=Kind.DEMONSTRATION)
    assert attempt_stages(tmp_path) == [BEFORE]


def test_the_summary_counts_labels_and_all_of_a_persons_time():
    lines = [
        label(1, 2, seconds=10),
        label(1, None, seconds=2, withdrawn=True),
        label(1, 3, seconds=6),
        label(2, None, seconds=12),
        label(3, 0, seconds=30),
        label(3, None, withdrawn=True),
    ]
    ended = [label(2, 4, by='label_episode'), label(4, 4, by='label_episode')]
    summary = summarise_labels(lines, ended)
    assert summary == LabelSummary(3, 2, by_operator=1, seconds=60)
    assert str(summary) == '3 labels (1 by label_episode): 2 success, 1 never; 1.0 minutes'
