"""The last check before the robot: which actions pass, and when the robot must stop."""

from __future__ import annotations

from dataclasses import replace
import re

from efm_guard.guard import ActionRequest, Guard, MotionPermit
import numpy as np
import pytest

MS = 1_000_000  # [ns]
STAMP = 5000


@pytest.fixture
def request_(embodiment):
    """Return an action that the guard accepts."""
    values = np.array([0.01, -0.02], np.float32)
    return ActionRequest('e1', STAMP, deadline=0, embodiment_hash=embodiment.hash, values=values)


@pytest.fixture
def lockstep(embodiment):
    """Return a guard in lockstep, with a permit for one observation."""
    guard = Guard(embodiment, lockstep=True)
    guard.on_permit(MotionPermit('e1', STAMP))
    return guard


@pytest.fixture
def real_time(embodiment):
    """Return a guard with a permit until 500 ms."""
    guard = Guard(embodiment, lockstep=False)
    guard.on_permit(MotionPermit('e1', STAMP, valid_until=500 * MS))
    return guard


def test_action_with_a_permit_for_its_observation_passes(lockstep, request_):
    assert lockstep.on_action(request_, 0) is request_


def test_action_waits_for_a_permit_that_comes_later(embodiment, request_):
    guard = Guard(embodiment, lockstep=True)
    assert guard.on_action(request_, 0) is None
    assert guard.on_permit(MotionPermit('e1', STAMP)) is request_
    assert guard.refused == {}


@pytest.mark.parametrize(
    'permit',
    [
        MotionPermit('e1', STAMP + 1),
        MotionPermit('e1', STAMP - 1),
        MotionPermit('e0', STAMP),
        MotionPermit(),
    ],
)
def test_permit_for_another_observation_or_episode_lets_nothing_pass(embodiment, request_, permit):
    guard = Guard(embodiment, lockstep=True)
    guard.on_action(request_, 0)
    assert guard.on_permit(permit) is None
    assert guard.on_action(request_, 0) is None


def test_permit_is_for_one_action(lockstep, request_):
    assert lockstep.on_action(request_, 0)
    assert lockstep.on_action(request_, 0) is None


def test_action_without_episode_needs_a_permit_as_well(embodiment, request_):
    guard = Guard(embodiment, lockstep=True)
    assert guard.on_action(replace(request_, episode_id='', stamp=0), 0) is None


def refusals(embodiment) -> dict[str, dict]:
    """Return, for each reason, what makes an action unfit."""
    low = embodiment.action.low[0]
    high = embodiment.action.high[1]
    return {
        'stale': {'deadline': 10},
        'embodiment': {'embodiment_hash': 'another'},
        'expected finite': {'values': np.array([np.nan, 0], np.float32)},
        'expected values': {'values': np.array([low * 1.01, 0], np.float32)},
        'got [0.0': {'values': np.array([0, high * 1.01], np.float32)},
        'expected shape': {'values': np.zeros(3, np.float32)},
        'expected dtype': {'values': np.zeros(2)},
    }


@pytest.mark.parametrize('mode', ['lockstep', 'real_time'])
@pytest.mark.parametrize(
    'reason',
    [
        'stale',
        'embodiment',
        'expected finite',
        'expected values',
        'got [0.0',
        'expected shape',
        'expected dtype',
    ],
)
def test_unfit_action_is_refused_counted_and_named(request, embodiment, request_, mode, reason):
    guard = request.getfixturevalue(mode)
    unfit = replace(request_, **refusals(embodiment)[reason])
    assert guard.on_action(unfit, 11) is None
    assert reason in guard.last_refusal
    assert sum(guard.refused.values()) == 1
    assert guard.on_action(request_, 11) is request_


def test_bounds_themselves_pass(lockstep, embodiment, request_):
    values = np.array([embodiment.action.low[0], embodiment.action.high[1]], np.float32)
    assert lockstep.on_action(replace(request_, values=values), 0)


def test_each_dimension_has_its_own_bounds(embodiment, request_):
    space = replace(embodiment.action, low=(-0.025, -0.01), high=(0.025, 0.01))
    narrow = replace(embodiment, action=space)
    guard = Guard(narrow, lockstep=True)
    guard.on_permit(MotionPermit('e1', STAMP))
    wide = replace(request_, embodiment_hash=narrow.hash)
    assert guard.on_action(wide, 0) is None
    assert guard.last_refusal == 'out of range'


def test_deadline_itself_is_not_stale(lockstep, request_):
    assert lockstep.on_action(replace(request_, deadline=10), 10)


@pytest.mark.parametrize('mode', ['lockstep', 'real_time'])
def test_emergency_stop_lets_nothing_pass_and_revokes_the_permit(request, request_, mode):
    guard = request.getfixturevalue(mode)
    guard.on_emergency(True)
    assert guard.on_action(request_, 0) is None
    assert guard.last_refusal == 'emergency stop'
    guard.on_emergency(False)
    assert guard.on_action(request_, 0) is None


def test_action_that_waits_is_forgotten_at_an_emergency_stop(embodiment, request_):
    guard = Guard(embodiment, lockstep=True)
    guard.on_action(request_, 0)
    guard.on_emergency(True)
    guard.on_emergency(False)
    assert guard.on_permit(MotionPermit('e1', STAMP)) is None


def test_revoked_permit_is_gone(real_time, request_):
    real_time.revoke()
    assert real_time.on_action(request_, 0) is None
    assert real_time.last_refusal == 'no permit'


def test_real_time_permit_serves_many_actions_until_it_ends(real_time, request_):
    assert real_time.on_action(request_, 0)
    assert real_time.on_action(replace(request_, stamp=STAMP + 1), 499 * MS)
    assert real_time.on_action(request_, 500 * MS) is None


def test_real_time_permit_is_for_one_episode(real_time, request_):
    assert real_time.on_action(replace(request_, episode_id='e0'), 0) is None


def test_robot_that_never_moved_need_not_stop(real_time):
    assert not real_time.must_stop(10**12)


def test_stop_is_due_once_when_the_action_has_outlived_its_lifetime(real_time, request_):
    real_time.on_action(request_, 100 * MS)  # it lives 300 ms
    assert not real_time.must_stop(399 * MS)
    assert real_time.must_stop(400 * MS)
    assert not real_time.must_stop(401 * MS)


def test_stop_is_due_when_the_permit_ends_though_the_action_would_live_longer(real_time, request_):
    real_time.on_action(request_, 400 * MS)
    assert not real_time.must_stop(499 * MS)
    assert real_time.must_stop(500 * MS)


def test_next_action_puts_the_stop_off(real_time, request_):
    real_time.on_action(request_, 0)
    real_time.on_action(request_, 150 * MS)
    assert not real_time.must_stop(449 * MS)
    assert real_time.must_stop(450 * MS)


def test_lockstep_world_waits_and_needs_no_stop(lockstep, request_):
    lockstep.on_action(request_, 0)
    assert not lockstep.must_stop(10**12)


T0 = 20_000 * MS
CHUNK = 3


@pytest.fixture
def chunked(embodiment):
    """Return the table's robot with chunks of three steps."""
    return replace(embodiment, action=replace(embodiment.action, chunk=CHUNK))


def chunk_for(robot, start_ms=0, **changes):
    """Return a chunk that the guard accepts; its steps are 1, 2 and 3 mm long."""
    values = np.float32([[0.001, 0], [0.002, 0], [0.003, 0]])
    stamp = T0 + start_ms * MS
    deadline = stamp + int(robot.action_lifetime_s * 1e9)
    known = ActionRequest(
        'e1',
        stamp,
        deadline=deadline,
        embodiment_hash=robot.hash,
        values=values,
        period=robot.period_ns,
    )
    return replace(known, **changes)


def moves(guard, times_ms):
    """Return time [ms] and length [mm] of each step that passes."""
    looks = [(at, guard.on_time(T0 + at * MS)) for at in times_ms]
    return [(at, round(1000 * float(step.values[0]))) for at, step in looks if step]


@pytest.fixture
def guard(chunked):
    """Return a guard of that robot with a permit for 60 s."""
    guard = Guard(chunked, lockstep=False)
    guard.on_permit(MotionPermit('e1', T0, valid_until=T0 + 60_000 * MS))
    return guard


def test_a_chunk_passes_step_by_step_and_then_the_robot_must_stop(guard, chunked):
    first = guard.on_action(chunk_for(chunked), T0 + 20 * MS)
    assert (first.stamp, first.values.tolist()) == (T0, [np.float32(0.001), 0.0])
    assert moves(guard, range(30, 400, 10)) == [(100, 2), (200, 3)]
    assert not guard.must_stop(T0 + 499 * MS)
    assert guard.must_stop(T0 + 500 * MS)  # the last step at 200 ms, and its lifetime of 300 ms
    assert guard.refused == {}


def test_a_late_chunk_joins_at_the_step_that_is_due(guard, chunked):
    first = guard.on_action(chunk_for(chunked), T0 + 130 * MS)
    assert first.stamp == T0 + 100 * MS
    assert moves(guard, range(140, 400, 10)) == [(200, 3)]
    assert guard.skipped == 1


def test_a_chunk_that_comes_too_late_is_stale(guard, chunked):
    assert guard.on_action(chunk_for(chunked), T0 + 300 * MS) is None
    assert guard.refused == {'stale': 1}
    assert not guard.must_stop(T0 + 10_000 * MS)


def test_a_chunk_for_an_older_observation_changes_nothing(guard, chunked):
    guard.on_action(chunk_for(chunked, 100), T0 + 110 * MS)
    assert guard.on_action(chunk_for(chunked), T0 + 120 * MS) is None
    assert guard.refused == {'older observation': 1}
    assert moves(guard, [200, 300]) == [(200, 2), (300, 3)]


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'values': np.zeros((2, 2), np.float32)}, r'expected shape \(3, 2\), got \(2, 2\)'),
        ({'values': np.zeros((3, 3), np.float32)}, r'expected shape \(3, 2\)'),
        ({'values': np.array([[0, 0], [0, 0], [0, np.nan]], np.float32)}, 'finite'),
        ({'values': np.array([[0, 0], [0, 0.026], [0, 0]], np.float32)}, 'expected values in'),
        ({'period': 50 * MS}, 'period: expected 100000000 ns a chunk step, got 50000000'),
        ({'embodiment_hash': 'another'}, 'embodiment: expected'),
        ({'episode_id': 'e2'}, 'no permit'),
    ],
    ids=['steps', 'columns', 'nan', 'range', 'pace', 'robot', 'episode'],
)
def test_no_step_of_a_bad_chunk_passes_and_the_good_one_goes_on(guard, chunked, changes, said):
    guard.on_action(chunk_for(chunked), T0)
    assert guard.on_action(chunk_for(chunked, 50, **changes), T0 + 60 * MS) is None
    assert re.search(said, guard.last_refusal)
    assert moves(guard, range(70, 400, 10)) == [(100, 2), (200, 3)]


def test_no_chunk_step_passes_after_the_permit(guard, chunked):
    guard.on_permit(MotionPermit('e1', T0, valid_until=T0 + 150 * MS))
    guard.on_action(chunk_for(chunked), T0)
    assert moves(guard, range(0, 400, 10)) == [(100, 2)]
    assert guard.refused == {'no permit': 1}
    assert guard.must_stop(T0 + 150 * MS)
    guard.on_permit(MotionPermit('e1', T0, valid_until=T0 + 900 * MS))
    assert moves(guard, range(150, 400, 10)) == []


@pytest.mark.parametrize('way', ['revoke', 'emergency', 'cut', 'another_episode'])
def test_what_ends_an_episode_ends_its_chunk(guard, chunked, way):
    guard.on_action(chunk_for(chunked), T0)
    if way == 'another_episode':
        guard.on_permit(MotionPermit('e2', T0, valid_until=T0 + 60_000 * MS))
    else:
        {
            'revoke': guard.revoke,
            'cut': guard.cut,
            'emergency': lambda: guard.on_emergency(True),
        }[way]()
    assert moves(guard, range(0, 400, 10)) == []


def test_single_actions_of_a_demonstrator_pass_too(guard, chunked):
    single = ActionRequest(
        'e1', T0, deadline=0, embodiment_hash=chunked.hash, values=np.float32([0.01, 0])
    )
    assert guard.on_action(single, T0 + 250 * MS) is single
    guard.on_action(chunk_for(chunked, 300), T0 + 300 * MS)
    later = replace(single, stamp=T0 + 400 * MS)
    assert guard.on_action(later, T0 + 410 * MS) is later
    assert moves(guard, range(410, 900, 10)) == []


def test_in_lockstep_a_permit_is_for_the_whole_chunk_and_the_world_is_its_clock(chunked):
    guard = Guard(chunked, lockstep=True)
    waiting = chunk_for(chunked, deadline=0)
    assert guard.on_action(waiting, 5) is None
    assert guard.on_permit(MotionPermit('e1', T0)).stamp == T0
    assert moves(guard, [0, 100, 100, 200, 300]) == [(0, 1), (100, 2), (100, 2), (200, 3)]
    assert guard.on_action(chunk_for(chunked, 300, deadline=0), 5) is None
    assert moves(guard, [300]) == []  # no permit yet


def test_in_lockstep_the_end_of_an_episode_ends_its_chunk(chunked):
    guard = Guard(chunked, lockstep=True)
    guard.on_permit(MotionPermit('e1', T0))
    assert guard.on_action(chunk_for(chunked, deadline=0), 5).stamp == T0
    guard.revoke()
    assert moves(guard, [100, 200]) == []
