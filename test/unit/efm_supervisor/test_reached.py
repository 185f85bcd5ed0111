"""Whether an episode reached its goal, by simulator truth."""

from __future__ import annotations

from efm_supervisor.reached import ReachedLog
import pytest


def log(*states, start=100):
    """Return the log of an episode ``a`` and of these states, each a stamp and a success."""
    made = ReachedLog()
    made.on_start('a', start)
    for stamp, success in states:
        made.on_state(stamp, success)
    return made


@pytest.mark.parametrize(
    ('states', 'expected'),
    [
        ([(100, False), (110, True), (120, False)], True),  # at some moment
        ([(100, True), (110, False), (120, False)], True),  # at the first observation
        ([(100, False), (110, False), (120, True)], True),  # at the last one
        ([(100, False), (110, False), (120, False)], False),
        ([(90, True), (100, False), (120, False)], False),  # the scene before
        ([(100, False), (120, False), (130, True)], False),  # after the end
    ],
)
def test_an_episode_is_reached_when_its_goal_was_true_at_one_of_its_observations(states, expected):
    assert log(*states).reached('a', last=120) is expected


def test_a_state_that_arrives_before_the_start_of_its_episode_counts():
    made = ReachedLog()
    made.on_state(100, True)
    made.on_start('a', 100)
    assert made.reached('a', last=120) is True


@pytest.mark.parametrize('states', [[], [(100, False), (110, False)]])
def test_without_the_state_of_the_last_observation_a_failure_is_unknown(states):
    assert log(*states).reached('a', last=120) is None


def test_an_episode_whose_start_was_not_received_is_unknown():
    assert log((100, True), (120, True)).reached('b', last=120) is None


def test_a_robot_that_stands_at_its_goal_for_long_needs_no_more_memory():
    made = log(*((stamp, True) for stamp in range(100, 30_000)))
    assert len(made._successes) == 10_000
    assert made.reached('a', last=29_999) is True
