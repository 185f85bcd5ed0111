"""Which picture is which step, whatever order the messages come in."""

from __future__ import annotations

from efm_core.attempt import Attempt
import pytest


@pytest.fixture
def running():
    """Return an attempt whose first observation has stamp 100."""
    attempt = Attempt()
    attempt.start('event', 100)
    return attempt


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
    attempt = Attempt()
    assert not attempt.admit(100, 'first')
    assert attempt.start('event', 100) == (100, 'first')


def test_newest_picture_takes_the_place_of_an_older_one():
    attempt = Attempt()
    attempt.admit(100, 'first')
    attempt.admit(200, 'second')
    assert attempt.start('event', 100) == (200, 'second')


def test_picture_of_the_scene_before_the_reset_is_not_waiting():
    attempt = Attempt()
    attempt.admit(90, 'old scene')
    assert attempt.start('event', 100) is None


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
