"""Labelled attempts: their split, and what the reward model learns from them."""

from __future__ import annotations

from efm_core.episode import Outcome
from efm_data.labels import LabelledAttempt
from efm_trainer.attempts import AttemptSplit, split_attempts, until
import pytest
from visuomotor import gripper_arm, noise_episode

ROBOT = gripper_arm()


def attempts(successes, failures):
    found = [LabelledAttempt(noise_episode(ROBOT, i, 5), 3) for i in range(successes)]
    return found + [
        LabelledAttempt(noise_episode(ROBOT, 100 + i, 5), None) for i in range(failures)
    ]


def outcomes(labelled):
    return [attempt.success_at is not None for attempt in labelled]


@pytest.mark.parametrize(
    ('successes', 'failures', 'fraction', 'expected'),
    [
        (10, 10, 0.5, (5, 5)),
        (10, 4, 0.1, (1, 1)),  # at least one of each outcome is held out
        (3, 2, 0.9, (2, 1)),  # and at least one trains
        (1, 4, 0.5, (0, 2)),  # a single one trains
        (0, 0, 0.5, (0, 0)),
    ],
)
def test_attempts_are_split_by_episode_each_outcome_by_itself(
    successes, failures, fraction, expected
):
    given = attempts(successes, failures)
    split = split_attempts(given, fraction, 0)
    held_out = outcomes(split.held_out)
    assert (sum(held_out), len(held_out) - sum(held_out)) == expected
    names = [a.episode.index for a in (*split.training, *split.held_out)]
    assert sorted(names) == sorted(a.episode.index for a in given)


def test_the_seed_decides_the_split():
    given = attempts(10, 10)
    one, again, other = (split_attempts(given, 0.5, seed).training for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_a_success_ends_at_the_observation_at_which_it_was_reached():
    split = AttemptSplit(attempts(1, 1))
    (success,) = split.successes
    assert (len(success), len(success.observations), success.outcome) == (3, 4, Outcome.SUCCESS)
    (failure,) = split.failures
    assert len(failure) == 5


def test_nothing_of_the_simulator_stays_in_a_success():
    found = until(noise_episode(ROBOT, 0, 5, true_success=False), 2)
    assert found.true_success is None
    assert found.true_success_per_step is None


@pytest.mark.parametrize('at', [-1, 6])
def test_a_label_outside_of_its_episode_is_refused(at):
    wrong = LabelledAttempt(noise_episode(ROBOT, 7, 5), at)
    with pytest.raises(ValueError, match=r'label of episode .*: expected an observation from 0 t'):
        split_attempts([wrong], 0.5, 0)
