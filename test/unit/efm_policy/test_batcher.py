import math

from efm_policy.serving.batcher import Batcher, HISTORY
import pytest

FAR = 1e9  # a deadline that is never reached [s]


def names(entries):
    return [entry.robot for entry in entries]


def filled(batcher, robots, now=0.0, deadline=FAR):
    for robot in robots:
        assert batcher.add(robot, f'of {robot}', now, deadline) is None
    return batcher


def test_an_empty_queue_has_no_due_batch():
    assert Batcher(4, 0.1).due(0.0) is None


def test_a_single_robot_does_not_wait():
    assert filled(Batcher(4, 0.1), 'a').due(0.0) == 0.0


def test_a_request_waits_for_the_other_active_robots_up_to_the_limit():
    batcher = filled(Batcher(4, 0.1), 'ab')
    batcher.take(0.0)
    batcher.record_batch(0.4)
    batcher.add('a', None, 0.5, FAR)
    assert batcher.due(0.5) == pytest.approx(0.6)
    batcher.add('b', None, 0.55, FAR)
    assert batcher.due(0.55) == 0.55


@pytest.mark.parametrize(('cost', 'due'), [(0.0, 0.5), (0.06, 0.53), (9.0, 0.6)])
def test_a_request_waits_at_most_half_the_duration_of_a_batch(cost, due):
    batcher = filled(Batcher(4, 0.1), 'ab')
    batcher.take(0.0)
    batcher.record_batch(cost)
    batcher.add('a', None, 0.5, FAR)
    assert batcher.due(0.5) == pytest.approx(due)


def test_an_inactive_robot_is_not_waited_for():
    batcher = filled(Batcher(4, 0.1), 'ab')
    batcher.take(0.0)
    batcher.add('a', None, 2.0, FAR)
    assert batcher.due(2.0) == 2.0


def test_a_full_batch_is_due_at_once_and_the_rest_forms_the_next():
    batcher = filled(Batcher(2, 0.1), 'abc', now=1.0)
    assert batcher.due(1.0) == 1.0
    batch, late = batcher.take(1.0)
    assert (names(batch), late) == (['a', 'b'], [])
    assert names(batcher.take(1.0)[0]) == ['c']


def test_without_micro_batching_every_request_is_a_batch():
    batcher = filled(Batcher(1, 0.0), 'abc')
    assert [names(batcher.take(0.0)[0]) for _ in range(3)] == [['a'], ['b'], ['c']]


def test_a_request_waits_at_most_half_the_time_left_before_its_deadline():
    batcher = filled(Batcher(4, 0.1), 'ab')
    batcher.take(0.0)
    batcher.record_batch(0.06)
    batcher.add('a', None, 0.5, 0.6)
    assert batcher.due(0.5) == pytest.approx(0.52)
    batch, late = batcher.take(0.52)
    assert (names(batch), late) == (['a'], [])


def test_a_request_that_cannot_meet_its_deadline_is_late():
    batcher = Batcher(4, 0.1)
    batcher.record_batch(0.05)
    filled(batcher, 'a', deadline=0.04)
    filled(batcher, 'b', deadline=0.06)
    batch, late = batcher.take(0.0)
    assert (names(batch), names(late)) == (['b'], ['a'])
    assert batcher.due(0.0) is None


def test_the_batch_duration_is_that_of_the_fastest_of_the_last_batches():
    batcher = Batcher(4, 0.1)
    assert batcher.batch_duration == 0.0
    for seconds in (0.3, 0.1, 0.2):
        batcher.record_batch(seconds)
    assert batcher.batch_duration == 0.1
    for _ in range(HISTORY):
        batcher.record_batch(0.5)
    assert batcher.batch_duration == 0.5


def test_one_slow_batch_does_not_block_the_server():
    batcher = Batcher(4, 0.1)
    batcher.record_batch(5.0)
    assert names(filled(batcher, 'a', now=1.0, deadline=1.3).take(1.0)[1]) == ['a']
    assert names(filled(batcher, 'a', now=2.0, deadline=2.3).take(2.0)[0]) == ['a']


def test_a_newer_request_of_a_robot_replaces_its_earlier_one():
    batcher = filled(Batcher(4, 0.1), 'ab')
    assert batcher.add('a', 'newer', 0.1, FAR) == 'of a'
    batch, _ = batcher.take(0.1)
    assert [(entry.robot, entry.item) for entry in batch] == [('b', 'of b'), ('a', 'newer')]


def test_clear_returns_all_waiting_requests():
    batcher = filled(Batcher(4, 0.1), 'ab')
    assert names(batcher.clear()) == ['a', 'b']
    assert batcher.due(math.inf) is None
