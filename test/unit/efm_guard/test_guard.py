"""The last check before the robot: which actions pass, and when the robot must stop."""

from __future__ import annotations

from dataclasses import replace
import re

from efm_guard.guard import ActionRequest, Guard, Moment, MotionPermit
import numpy as np
import pytest

MS = 1_000_000  # [ns]
STAMP = 5000


def at(ns, steady=None):
    """Return the moment at which both clocks, or the node's and the steady one, show this."""
    return Moment(ns, ns if steady is None else steady)


@pytest.fixture
def request_(embodiment):
    """Return an action that the guard accepts."""
    values = np.array([0.01, -0.02], np.float32)
    return ActionRequest('e1', STAMP, deadline=0, embodiment_hash=embodiment.hash, values=values)


@pytest.fixture
def lockstep(embodiment):
    """Return a guard in lockstep, with a permit for one observation."""
    guard = Guard(embodiment, lockstep=True)
    guard.on_permit(MotionPermit('e1', STAMP), at(0))
    return guard


@pytest.fixture
def real_time(embodiment):
    """Return a guard with a permit until 500 ms."""
    guard = Guard(embodiment, lockstep=False)
    guard.on_permit(MotionPermit('e1', STAMP, valid_until=500 * MS), at(0))
    return guard


def test_action_with_a_permit_for_its_observation_passes(lockstep, request_):
    assert lockstep.on_action(request_, at(0)) is request_


def test_action_waits_for_a_permit_that_comes_later(embodiment, request_):
    guard = Guard(embodiment, lockstep=True)
    assert guard.on_action(request_, at(0)) is None
    assert guard.on_permit(MotionPermit('e1', STAMP), at(0)) is request_
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
    guard.on_action(request_, at(0))
    assert guard.on_permit(permit, at(0)) is None
    assert guard.on_action(request_, at(0)) is None


def test_permit_is_for_one_action(lockstep, request_):
    assert lockstep.on_action(request_, at(0))
    assert lockstep.on_action(request_, at(0)) is None


def test_action_without_episode_needs_a_permit_as_well(embodiment, request_):
    guard = Guard(embodiment, lockstep=True)
    assert guard.on_action(replace(request_, episode_id='', stamp=0), at(0)) is None


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
    assert guard.on_action(unfit, at(11)) is None
    assert reason in guard.last_refusal
    assert sum(guard.refused.values()) == 1
    assert guard.on_action(request_, at(11)) is request_


def test_bounds_themselves_pass(lockstep, embodiment, request_):
    values = np.array([embodiment.action.low[0], embodiment.action.high[1]], np.float32)
    assert lockstep.on_action(replace(request_, values=values), at(0))


def test_each_dimension_has_its_own_bounds(embodiment, request_):
    space = replace(embodiment.action, low=(-0.025, -0.01), high=(0.025, 0.01))
    narrow = replace(embodiment, action=space)
    guard = Guard(narrow, lockstep=True)
    guard.on_permit(MotionPermit('e1', STAMP), at(0))
    wide = replace(request_, embodiment_hash=narrow.hash)
    assert guard.on_action(wide, at(0)) is None
    assert guard.last_refusal == 'out of range'


def test_deadline_itself_is_not_stale(lockstep, request_):
    assert lockstep.on_action(replace(request_, deadline=10), at(10))


@pytest.mark.parametrize('mode', ['lockstep', 'real_time'])
def test_emergency_stop_lets_nothing_pass_and_revokes_the_permit(request, request_, mode):
    guard = request.getfixturevalue(mode)
    guard.on_emergency()
    assert guard.on_action(request_, at(0)) is None
    assert guard.last_refusal == 'emergency stop'
    guard.release_emergency()
    assert guard.on_action(request_, at(0)) is None


def test_action_that_waits_is_forgotten_at_an_emergency_stop(embodiment, request_):
    guard = Guard(embodiment, lockstep=True)
    guard.on_action(request_, at(0))
    guard.on_emergency()
    guard.release_emergency()
    assert guard.on_permit(MotionPermit('e1', STAMP), at(0)) is None


def test_revoked_permit_is_gone(real_time, request_):
    real_time.revoke()
    assert real_time.on_action(request_, at(0)) is None
    assert real_time.last_refusal == 'no permit'


def test_real_time_permit_serves_many_actions_until_it_ends(real_time, request_):
    assert real_time.on_action(request_, at(0))
    assert real_time.on_action(replace(request_, stamp=499 * MS), at(499 * MS))
    assert real_time.on_action(replace(request_, stamp=500 * MS), at(500 * MS)) is None
    assert real_time.last_refusal == 'no permit'


def test_real_time_permit_is_for_one_episode(real_time, request_):
    assert real_time.on_action(replace(request_, episode_id='e0'), at(0)) is None


def test_robot_that_never_moved_need_not_stop(real_time):
    assert not real_time.must_stop(at(10**12))


def test_stop_is_due_once_when_the_action_has_outlived_its_lifetime(real_time, request_):
    real_time.on_action(request_, at(100 * MS))  # it lives 300 ms
    assert not real_time.must_stop(at(399 * MS))
    assert real_time.must_stop(at(400 * MS))
    assert not real_time.must_stop(at(401 * MS))


def test_stop_is_due_when_the_permit_ends_though_the_action_would_live_longer(real_time, request_):
    real_time.on_action(replace(request_, stamp=400 * MS), at(400 * MS))
    assert not real_time.must_stop(at(499 * MS))
    assert real_time.must_stop(at(500 * MS))


def test_next_action_puts_the_stop_off(real_time, request_):
    real_time.on_action(request_, at(0))
    real_time.on_action(replace(request_, stamp=STAMP + 1), at(150 * MS))
    assert not real_time.must_stop(at(449 * MS))
    assert real_time.must_stop(at(450 * MS))


def test_lockstep_world_waits_and_needs_no_stop(lockstep, request_):
    lockstep.on_action(request_, at(0))
    assert not lockstep.must_stop(at(10**12))


T0 = 20_000 * MS
CHUNK = 3


@pytest.fixture
def chunked(embodiment):
    """Return the table's robot with chunks of three steps, and long permits."""
    space = replace(embodiment.action, chunk=CHUNK)
    return replace(embodiment, action=space, max_permit_s=60.0)


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
    looks = [(ms, guard.on_time(at(T0 + ms * MS))) for ms in times_ms]
    return [(ms, round(1000 * float(step.values[0]))) for ms, step in looks if step]


@pytest.fixture
def guard(chunked):
    """Return a guard of that robot with a permit for 60 s."""
    guard = Guard(chunked, lockstep=False)
    guard.on_permit(MotionPermit('e1', T0, valid_until=T0 + 60_000 * MS), at(T0))
    return guard


def test_a_chunk_passes_step_by_step_and_then_the_robot_must_stop(guard, chunked):
    first = guard.on_action(chunk_for(chunked), at(T0 + 20 * MS))
    assert (first.stamp, first.values.tolist()) == (T0, [np.float32(0.001), 0.0])
    assert moves(guard, range(30, 400, 10)) == [(100, 2), (200, 3)]
    assert not guard.must_stop(at(T0 + 499 * MS))
    assert guard.must_stop(
        at(T0 + 500 * MS)
    )  # the last step at 200 ms, and its lifetime of 300 ms
    assert guard.refused == {}


def test_a_late_chunk_joins_at_the_step_that_is_due(guard, chunked):
    first = guard.on_action(chunk_for(chunked), at(T0 + 130 * MS))
    assert first.stamp == T0 + 100 * MS
    assert moves(guard, range(140, 400, 10)) == [(200, 3)]
    assert guard.skipped == 1


def test_a_chunk_that_comes_too_late_is_stale(guard, chunked):
    assert guard.on_action(chunk_for(chunked), at(T0 + 300 * MS)) is None
    assert guard.refused == {'stale': 1}
    assert not guard.must_stop(at(T0 + 10_000 * MS))


def test_a_chunk_for_an_older_observation_changes_nothing(guard, chunked):
    guard.on_action(chunk_for(chunked, 100), at(T0 + 110 * MS))
    assert guard.on_action(chunk_for(chunked), at(T0 + 120 * MS)) is None
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
    guard.on_action(chunk_for(chunked), at(T0))
    assert guard.on_action(chunk_for(chunked, 50, **changes), at(T0 + 60 * MS)) is None
    assert re.search(said, guard.last_refusal)
    assert moves(guard, range(70, 400, 10)) == [(100, 2), (200, 3)]


def test_no_chunk_step_passes_after_the_permit(guard, chunked):
    guard.on_permit(MotionPermit('e1', T0, valid_until=T0 + 150 * MS), at(T0))
    guard.on_action(chunk_for(chunked), at(T0))
    assert moves(guard, range(0, 400, 10)) == [(100, 2)]
    assert guard.refused == {'no permit': 1}
    assert guard.must_stop(at(T0 + 150 * MS))
    guard.on_permit(MotionPermit('e1', T0, valid_until=T0 + 900 * MS), at(T0 + 150 * MS))
    assert moves(guard, range(150, 400, 10)) == []


@pytest.mark.parametrize('way', ['revoke', 'emergency', 'cut', 'end'])
def test_what_ends_an_episode_ends_its_chunk(guard, chunked, way):
    guard.on_action(chunk_for(chunked), at(T0))
    {
        'revoke': guard.revoke,
        'cut': guard.cut,
        'emergency': guard.on_emergency,
        'end': lambda: guard.end('e1'),
    }[way]()
    assert moves(guard, range(0, 400, 10)) == []


def test_single_actions_of_a_demonstrator_pass_too(guard, chunked):
    single = ActionRequest(
        'e1', T0, deadline=0, embodiment_hash=chunked.hash, values=np.float32([0.01, 0])
    )
    assert guard.on_action(single, at(T0 + 250 * MS)) is single
    guard.on_action(chunk_for(chunked, 300), at(T0 + 300 * MS))
    later = replace(single, stamp=T0 + 400 * MS)
    assert guard.on_action(later, at(T0 + 410 * MS)) is later
    assert moves(guard, range(410, 900, 10)) == []


def test_in_lockstep_a_permit_is_for_the_whole_chunk_and_the_world_is_its_clock(chunked):
    guard = Guard(chunked, lockstep=True)
    waiting = chunk_for(chunked, deadline=0)
    assert guard.on_action(waiting, at(5)) is None
    assert guard.on_permit(MotionPermit('e1', T0), at(0)).stamp == T0
    assert moves(guard, [0, 100, 100, 200, 300]) == [(0, 1), (100, 2), (100, 2), (200, 3)]
    assert guard.on_action(chunk_for(chunked, 300, deadline=0), at(5)) is None
    assert moves(guard, [300]) == []  # no permit yet


def test_in_lockstep_the_end_of_an_episode_ends_its_chunk(chunked):
    guard = Guard(chunked, lockstep=True)
    guard.on_permit(MotionPermit('e1', T0), at(0))
    assert guard.on_action(chunk_for(chunked, deadline=0), at(5)).stamp == T0
    guard.revoke()
    assert moves(guard, [100, 200]) == []


def single_for(robot, start_ms=0, **changes):
    """Return a single action that the guard accepts ``start_ms`` after T0."""
    values = np.float32([0.001, 0])
    known = ActionRequest(
        'e1', T0 + start_ms * MS, deadline=0, embodiment_hash=robot.hash, values=values
    )
    return replace(known, **changes)


def after(ms, jump_ms=0):
    """Return the moment ``ms`` after T0; the node's clock has jumped by ``jump_ms``."""
    return at(T0 + (ms + jump_ms) * MS, T0 + ms * MS)


def permit_until(ms, episode_id='e1'):
    return MotionPermit(episode_id, T0, valid_until=T0 + ms * MS)


@pytest.fixture
def single(embodiment):
    """Return a guard of the table's robot with a permit for 1 s; an action lives 300 ms."""
    guard = Guard(embodiment, lockstep=False)
    guard.on_permit(permit_until(60_000), after(0))
    return guard


@pytest.mark.parametrize('deadline', [0, T0 + 10**15], ids=['none', 'far_away'])
@pytest.mark.parametrize(
    ('age_ms', 'passes'), [(0, True), (300, True), (301, False), (10_000, False)]
)
def test_an_action_older_than_its_lifetime_is_stale_whatever_its_deadline(
    single, embodiment, deadline, age_ms, passes
):
    action = single_for(embodiment, 20_000 - age_ms, deadline=deadline)
    single.on_permit(permit_until(30_000), after(20_000))
    assert bool(single.on_action(action, after(20_000))) == passes
    assert passes or re.search(
        rf'stale: .*got an age of {age_ms / 1000:.3f} s', single.last_refusal
    )


@pytest.mark.parametrize('ahead_ms', [101, 10_000])
def test_an_action_from_the_future_does_not_pass(single, embodiment, ahead_ms):
    assert single.on_action(single_for(embodiment, ahead_ms), after(0)) is None
    assert single.refused == {'ahead of time': 1}
    assert single.on_action(single_for(embodiment, 100), after(0))


@pytest.mark.parametrize('older_ms', [0, 1, 90])
def test_an_action_passes_only_if_its_observation_is_newer_than_the_last(
    single, embodiment, older_ms
):
    assert single.on_action(single_for(embodiment, 100), after(110))
    assert single.on_action(single_for(embodiment, 100 - older_ms), after(120)) is None
    assert single.refused == {'older observation': 1}
    assert single.on_action(single_for(embodiment, 101), after(130))


def test_a_chunk_whose_last_step_is_older_than_its_lifetime_is_stale(embodiment):
    space = replace(embodiment.action, chunk=CHUNK)
    robot = replace(embodiment, action=space, action_lifetime_s=0.1, max_permit_s=60.0)
    guard = Guard(robot, lockstep=False)
    guard.on_permit(permit_until(1000), after(0))
    assert guard.on_action(chunk_for(robot, deadline=T0 + 10**15), after(301)) is None
    assert guard.last_refusal.startswith('stale: ')


def test_a_permit_until_2038_ends_with_the_longest_one_of_the_embodiment(single, embodiment):
    single.on_permit(MotionPermit('e1', T0, valid_until=2**31 * 10**9), after(0))
    assert single.on_action(single_for(embodiment, 990), after(999))
    assert single.on_action(single_for(embodiment, 1000), after(1000)) is None
    assert single.last_refusal == 'no permit'


def test_a_permit_that_has_expired_on_its_way_gives_nothing(embodiment):
    guard = Guard(embodiment, lockstep=False)
    guard.on_permit(permit_until(50), after(50))
    assert guard.on_action(single_for(embodiment, 50), after(51)) is None


def test_the_first_owner_keeps_the_robot_against_a_second_supervisor(single, embodiment):
    single.on_permit(permit_until(900, 'e2'), after(10))
    assert single.last_refusal == 'second owner: expected a permit for e1, got e2'
    assert single.on_action(single_for(embodiment, 10, episode_id='e2'), after(20)) is None
    assert single.on_action(single_for(embodiment, 20), after(30))


@pytest.mark.parametrize('way', ['end', 'expiry'])
def test_another_episode_may_follow_the_end_or_the_expiry_of_the_first(single, embodiment, way):
    if way == 'end':
        single.end('e1')
    begun = 0 if way == 'end' else 1000
    single.on_permit(permit_until(begun + 500, 'e2'), after(begun))
    assert single.on_action(single_for(embodiment, begun, episode_id='e2'), after(begun))


def test_a_permit_that_arrives_after_the_end_of_its_episode_moves_nothing(single, embodiment):
    single.end('e1')
    single.on_permit(permit_until(900), after(10))
    assert single.on_action(single_for(embodiment, 10), after(20)) is None
    single.begin('e1')  # the same name again, in another run
    single.on_permit(permit_until(900), after(30))
    assert single.on_action(single_for(embodiment, 30), after(40))


def test_the_emergency_stop_ends_the_episode_for_good(single, embodiment):
    single.on_emergency()
    single.on_permit(permit_until(900), after(10))
    single.release_emergency()
    single.on_permit(permit_until(900), after(20))
    assert single.on_action(single_for(embodiment, 20), after(20)) is None


@pytest.mark.parametrize('jump_ms', [-50, -2000, -9_000, -19_000])
def test_a_clock_that_jumps_back_stops_the_robot_at_once_and_its_permit_is_gone(
    single, embodiment, jump_ms
):
    single.on_action(single_for(embodiment, 40), after(50))
    assert single.must_stop(after(60, jump_ms))
    assert not single.must_stop(after(61, jump_ms))
    assert f'got a jump back of {(-jump_ms - 10) / 1000:.3f} s' in single.fault
    for ms in (70, 200, 500):
        single.on_permit(permit_until(ms + jump_ms + 400), after(ms, jump_ms))
        assert single.on_action(single_for(embodiment, ms + jump_ms), after(ms, jump_ms)) is None
    single.begin('e2')
    single.on_permit(permit_until(jump_ms + 1000, 'e2'), after(600, jump_ms))
    action = single_for(embodiment, 600 + jump_ms, episode_id='e2')
    assert single.on_action(action, after(600, jump_ms))
    assert single.fault == ''


@pytest.mark.parametrize('jump_ms', [2000, 600_000])
def test_a_clock_that_jumps_ahead_makes_actions_stale_and_the_watchdog_stops(
    single, embodiment, jump_ms
):
    single.on_action(single_for(embodiment, 40), after(50))
    assert single.on_action(single_for(embodiment, 100), after(110, jump_ms)) is None
    assert not single.must_stop(after(349, jump_ms))
    assert single.must_stop(after(350, jump_ms))


def test_a_clock_that_stands_still_keeps_no_robot_moving(single, embodiment):
    single.on_action(single_for(embodiment, 40), at(T0 + 50 * MS, T0 + 50 * MS))
    assert not single.must_stop(at(T0 + 50 * MS, T0 + 349 * MS))
    assert single.must_stop(at(T0 + 50 * MS, T0 + 350 * MS))


def test_in_lockstep_time_may_run_back_as_a_world_does_at_a_reset(lockstep, request_):
    lockstep.on_time(at(10**12))
    assert lockstep.on_action(request_, at(0)) is request_
    assert lockstep.fault == ''


def test_images_that_are_a_second_late_are_a_fault_with_age_clock_and_mend(single, embodiment):
    for ms in range(1000, 1500, 100):
        assert single.fault == ''
        single.on_action(single_for(embodiment, ms - 1000), after(ms))
    for words in ('5 actions in a row', 'got an age of 1.000 s', "guard's clock", 'chrony'):
        assert words in single.fault
    single.on_permit(permit_until(2000), after(1500))
    assert single.on_action(single_for(embodiment, 1500), after(1510))
    single.on_sent()
    assert single.fault == ''


def test_a_state_that_is_late_is_the_same_fault(single):
    for _ in range(5):
        single.refuse('state: expected one of the last 0.2 s, got 1.000 s')
    assert 'state: expected one of the last 0.2 s, got 1.000 s' in single.fault


def test_actions_that_break_a_limit_are_no_fault_of_the_clock(single):
    for _ in range(50):
        single.refuse('speed of joint1: expected 1 at most, got 3')
    assert single.fault == ''
