from collections import Counter
from dataclasses import replace
from itertools import pairwise
import json

from bags import make_episode, write_bag
from efm_core.episode import Kind, Outcome, Termination
from efm_core.images import decode_image
from efm_core.observation import Observation
from efm_data.labelling import choose_attempts, LabellingSession, NotCurrent, withdraw_label
from efm_data.labels import Label, LabelFile
import numpy as np
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()
STAGE = 'evaluation_before'
FIRED = np.array([4, 3, 2, 1, 0], np.float32)
SILENT = np.array([9, 8, 7, 6, 5], np.float32)


def put(run, index, steps_to_go=SILENT, **changes):
    """Write the bag of an attempt of 4 steps; return the episode."""
    wanted = {'kind': Kind.EVALUATION, 'steps_to_go': steps_to_go, **changes}
    episode = make_episode(EMBODIMENT, index, **wanted)
    folder = run / 'episodes' / STAGE
    folder.mkdir(parents=True, exist_ok=True)
    write_bag(episode, folder / episode.episode_id)
    return episode


@pytest.fixture(scope='module')
def bags(tmp_path_factory):
    """Return a run with 2 attempts in which the detector fires, and 4 others."""
    run = tmp_path_factory.mktemp('run')
    for index in range(6):
        put(run, index, FIRED if index < 2 else SILENT)
    return run


@pytest.fixture
def session(bags):
    """Return a session of 4 attempts without labels."""
    LabelFile(bags).path.unlink(missing_ok=True)
    return LabellingSession(bags, STAGE, embodiment=EMBODIMENT, count=4)


def label_next(session, at=None, seconds=1.5):
    """Label the next attempt; return its identifier."""
    episode_id = session.state()['attempt']['episode_id']
    session.label(episode_id, at, seconds)
    return episode_id


@pytest.mark.parametrize(
    ('firing', 'silent', 'count', 'expected'),
    [
        (50, 50, 40, (20, 20)),
        (50, 50, 7, (4, 3)),
        (3, 50, 40, (3, 37)),
        (50, 3, 40, (37, 3)),
        (0, 50, 40, (0, 40)),
        (5, 5, 40, (5, 5)),
        (0, 0, 40, (0, 0)),
    ],
)
def test_half_of_the_attempts_are_those_in_which_the_detector_fires(
    firing, silent, count, expected
):
    fired = [True] * firing + [False] * silent
    chosen = choose_attempts(fired, count, seed=0)
    assert len(set(chosen)) == len(chosen)
    drawn = Counter(fired[index] for index in chosen)
    assert (drawn[True], drawn[False]) == expected


def test_the_choice_depends_on_the_seed_and_keeps_smaller_choices():
    fired = [index % 5 == 0 for index in range(60)]
    choices = [set(choose_attempts(fired, count, seed=1)) for count in range(61)]
    assert all(small <= large for small, large in pairwise(choices))
    assert choose_attempts(fired, 20, seed=1) == choose_attempts(fired, 20, seed=1)
    assert set(choose_attempts(fired, 20, seed=2)) != choices[20]


def test_the_order_does_not_reveal_the_group():
    fired = [index < 50 for index in range(100)]
    orders = [[fired[i] for i in choose_attempts(fired, 40, seed)] for seed in range(20)]
    assert len({tuple(order) for order in orders}) == 20
    shares = np.mean(orders, axis=0)
    assert 0.05 < shares.min() < shares.max() < 0.95


def test_a_session_shows_each_chosen_attempt_once(session, bags):
    seen = [label_next(session, at) for at in (2, None, 0, 4)]
    assert len(set(seen)) == 4
    assert {'episode-0', 'episode-1'} < set(seen)
    state = session.state()
    assert state == {'done': 4, 'count': 4, 'seconds': 6.0, 'attempt': None}
    written = [(one.episode_id, one.success_at, one.by) for one in LabelFile(bags).read()]
    assert written == list(zip(seen, (2, None, 0, 4), ['page'] * 4, strict=True))


def test_a_new_session_goes_on_where_the_last_one_ended(session, bags):
    first = [label_next(session), label_next(session)]
    again = LabellingSession(bags, STAGE, embodiment=EMBODIMENT, count=4)
    assert (again.state()['done'], again.state()['seconds']) == (2, 3.0)
    assert label_next(again) not in first


def test_labels_of_another_process_count(session, bags):
    shown = session.state()['attempt']['episode_id']
    LabelFile(bags).append(Label(STAGE, shown, success_at=1))
    assert session.state()['done'] == 1
    with pytest.raises(NotCurrent, match=shown):
        session.label(shown, 3, 1.0)
    assert len(LabelFile(bags).read()) == 1


def test_undo_withdraws_the_newest_label_and_shows_its_attempt_again(session, bags):
    first = label_next(session, 1)
    second = label_next(session, 2)
    again = LabellingSession(bags, STAGE, embodiment=EMBODIMENT, count=4)
    for undone in (second, first):
        again.undo(0.5)
        assert again.state()['attempt']['episode_id'] == undone
    again.undo(0.5)
    assert (again.state()['done'], again.state()['seconds']) == (0, 4.0)
    assert label_next(again, 3) == first


def test_the_state_describes_the_attempt_without_simulator_truth(session):
    state = session.state()
    attempt = state['attempt']
    assert attempt.keys() == {
        'position',
        'episode_id',
        'instruction',
        'frames',
        'period_s',
        'cameras',
        'steps_to_go',
    }
    assert (attempt['frames'], attempt['period_s']) == (5, pytest.approx(0.1))
    assert attempt['cameras'] == [EMBODIMENT.cameras[0].name]
    assert 'true' not in json.dumps(state)


def test_an_attempt_without_predictions_has_no_curve(tmp_path):
    put(tmp_path, 1, np.full(5, np.nan, np.float32))
    one = LabellingSession(tmp_path, STAGE, embodiment=EMBODIMENT)
    assert one.state()['attempt']['steps_to_go'] == [None] * 5


def test_a_frame_is_the_exact_image_of_the_policy(session):
    attempt = session.state()['attempt']
    index = int(attempt['episode_id'].rpartition('-')[2])
    expected = make_episode(EMBODIMENT, index).observations.images[0][3]
    np.testing.assert_array_equal(decode_image(session.frame(attempt['position'], 0, 3)), expected)


def test_each_camera_has_frames_of_its_own_size(tmp_path):
    camera = EMBODIMENT.cameras[0]
    wrist = replace(
        camera, name='wrist', topic='wrist/image', role='wrist', height=8, width=12, size=(8, 12)
    )
    robot = replace(EMBODIMENT, cameras=(camera, wrist))
    images = tuple(np.full((5, *size, 3), 90, np.uint8) for size in robot.image_sizes)
    seen = Observation(images, np.zeros((5, 0), np.float32))
    episode = replace(make_episode(robot, kind=Kind.EVALUATION), observations=seen)
    (tmp_path / 'episodes' / STAGE).mkdir(parents=True)
    write_bag(episode, tmp_path / 'episodes' / STAGE / 'one', robot=robot)
    one = LabellingSession(tmp_path, STAGE, embodiment=robot)
    assert one.state()['attempt']['cameras'] == [camera.name, 'wrist']
    shapes = [decode_image(one.frame(0, index, 4)).shape for index in range(2)]
    assert shapes == [(16, 16, 3), (8, 12, 3)]


def test_an_index_beyond_the_attempt_is_refused_and_not_written(session, bags):
    shown = session.state()['attempt']['episode_id']
    with pytest.raises(ValueError, match='success_at of 0 to 4'):
        session.label(shown, 5, 1.0)
    assert LabelFile(bags).read() == []


def test_only_attempts_without_a_persons_label_are_shown(tmp_path):
    put(tmp_path, 0)
    put(tmp_path, 1, outcome=Outcome.FAILURE, termination=Termination.STOPPED)
    put(tmp_path, 2, outcome=Outcome.UNLABELLED, termination=Termination.FAULT)
    put(tmp_path, 3, kind=Kind.DEMONSTRATION)
    put(tmp_path, 4)
    bag = tmp_path / 'episodes' / STAGE / 'episode-4'
    next(bag.glob('*.mcap')).write_bytes(b'')
    one = LabellingSession(tmp_path, STAGE, embodiment=EMBODIMENT)
    assert one.count == 1
    assert one.state()['attempt']['episode_id'] == 'episode-0'
    assert [label.episode_id for label in one.by_operator] == ['episode-1']
    assert len(one.unusable) == 1


def test_a_stage_without_attempts_or_an_unknown_stage_is_named(tmp_path):
    put(tmp_path, 3, kind=Kind.DEMONSTRATION)
    with pytest.raises(ValueError, match='expected attempts of a policy'):
        LabellingSession(tmp_path, STAGE, embodiment=EMBODIMENT)
    with pytest.raises(ValueError, match=f'episodes_subdir: expected one of {STAGE}'):
        LabellingSession(tmp_path, '../other', embodiment=EMBODIMENT)


def test_a_label_can_be_withdrawn_by_its_name(session, bags):
    shown = label_next(session)
    withdraw_label(bags, STAGE, shown)
    assert session.state()['done'] == 0
    with pytest.raises(ValueError, match='withdraw: expected an episode of evaluation_before'):
        withdraw_label(bags, STAGE, shown)
