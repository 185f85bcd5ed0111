"""Which picture is which step, whatever order the messages come in."""

from __future__ import annotations

from efm_core.observation_matcher import ObservationMatcher
import pytest


@pytest.fixture
def running():
    """Return an matcher whose first observation has stamp 100."""
    matcher = ObservationMatcher()
    matcher.start('event', 100)
    return matcher


def test_steps_count_from_zero(running):
    assert running.admit(100, 'a')
    assert running.count(100) == 0
    assert running.admit(200, 'b')
    assert running.count(200) == 1


def test_picture_from_before_the_first_observation_belongs_to_none(running):
    assert not running.admit(99, 'old')


def test_same_stamp_counts_once(running):
    running.count(100)
    assert not running.admit(100, 'again')


def test_older_picture_that_comes_late_is_not_taken(running):
    running.count(200)
    assert not running.admit(150, 'late')


def test_picture_that_comes_before_its_event_is_not_lost():
    matcher = ObservationMatcher()
    assert not matcher.admit(100, 'first')
    assert matcher.start('event', 100) == (100, 'first')


def test_newest_picture_takes_the_place_of_an_older_one():
    matcher = ObservationMatcher()
    matcher.admit(100, 'first')
    matcher.admit(200, 'second')
    assert matcher.start('event', 100) == (200, 'second')


def test_picture_of_the_scene_before_the_reset_is_not_waiting():
    matcher = ObservationMatcher()
    matcher.admit(90, 'old scene')
    assert matcher.start('event', 100) is None


def test_nothing_belongs_to_an_episode_that_has_ended(running):
    running.count(100)
    running.end()
    assert not running.admit(200, 'after')
    assert running.event is None


def test_picture_between_two_episodes_waits_for_the_second(running):
    running.count(100)
    running.end()
    running.admit(300, 'next scene')
    assert running.start('second', 300) == (300, 'next scene')
    assert running.count(300) == 0


def test_kept_picture_is_given_out_once_and_for_its_own_stamp_only(running):
    running.keep(100, 'a')
    assert running.waiting_for(50) is None
    assert running.waiting_for(100) == (100, 'a')
    assert running.waiting_for(100) is None


def test_clock_that_starts_again_at_a_reset_starts_anew(running):
    running.count(100)
    running.end()
    running.start('second', 10)
    assert running.admit(10, 'a')


def chunked(*taken: int) -> ObservationMatcher:
    """Return an matcher from 1000 on with steps of 4 x 10, after some of them."""
    matcher = ObservationMatcher(decision_ns=40, period_ns=10)
    matcher.start('event', 1000)
    for stamp in taken:
        matcher.count(stamp)
    return matcher


def test_with_chunks_one_picture_of_each_span_is_a_step():
    matcher = chunked()
    steps = []
    for stamp in range(1000, 1130, 10):
        if matcher.admit(stamp, 'picture'):
            steps.append((matcher.count(stamp), stamp))
    assert steps == [(0, 1000), (1, 1040), (2, 1080), (3, 1120)]


@pytest.mark.parametrize(
    ('stamp', 'is_step'), [(1034, False), (1035, True), (1047, True), (1074, True)]
)
def test_a_picture_may_be_half_a_period_early_or_take_the_place_of_a_missed_one(stamp, is_step):
    assert chunked(1000).admit(stamp, 'picture') == is_step


def test_after_a_late_picture_the_next_step_is_where_it_always_was():
    matcher = chunked(1000, 1070)
    assert not matcher.admit(1074, 'soon after')
    assert matcher.admit(1080, 'picture')


def test_the_first_picture_that_comes_is_a_step_wherever_it_lies():
    matcher = chunked()
    assert matcher.admit(1025, 'picture')
    matcher.count(1025)
    assert not matcher.admit(1034, 'picture')


def test_a_picture_between_two_steps_does_not_take_the_place_of_one_that_waits():
    matcher = chunked(1000)
    matcher.keep(1040, 'waits')
    matcher.count(1040)
    matcher.admit(1050, 'between')
    assert matcher.waiting_for(1050) is None
