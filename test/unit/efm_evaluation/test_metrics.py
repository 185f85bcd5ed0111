from dataclasses import replace

from bags import make_episode
from efm_core.episode import Termination
from efm_evaluation.metrics import (
    detect,
    detect_per_episode,
    detect_per_frame,
    evaluate,
    Evaluation,
    is_self_stopped,
    Proportion,
    reached,
    self_stopped,
    steps_to_goal,
    success_rate,
)
import numpy as np
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()


def episode(truth, d, fired):
    truth = np.array(truth, bool)
    return make_episode(
        EMBODIMENT,
        steps=len(truth) - 1,
        true_success_per_step=truth,
        true_success=bool(truth[-1]),
        steps_to_go=np.array(d, np.float32),
        termination=Termination.SUCCESS_DETECTED if fired else Termination.TIMEOUT,
    )


EPISODES = [
    episode([0, 0, 1], [9, 2, 1], fired=True),
    episode([0, 0, 0], [9, 1, 1], fired=True),
    episode([0, 1, 0], [9, 3, 8], fired=False),
    episode([0, 0, 0], [9, 9, 9], fired=False),
]


def test_the_interval_of_a_proportion_is_wilsons():
    low, high = Proportion(8, 10).interval  # worked out by hand from Wilson's formula, z = 1.96
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_the_interval_stays_inside_zero_and_one():
    assert Proportion(0, 10).interval[0] == 0
    assert Proportion(10, 10).interval[1] == pytest.approx(1)
    assert Proportion(0, 0).interval == (0, 1)


def test_a_goal_that_was_left_again_was_reached():
    assert [reached(e) for e in EPISODES] == [True, False, True, False]
    assert success_rate(EPISODES) == Proportion(2, 4)


def test_both_measures_of_success_have_their_counts():
    # At the goal where the detector fires: first. Reached: first and third.
    assert evaluate(EPISODES, EMBODIMENT) == Evaluation(
        self_stopped=Proportion(1, 4), reached=Proportion(2, 4), mean_steps=(2 + 2 + 1 + 2) / 4
    )


def test_no_episodes_have_no_success_and_no_steps():
    found = evaluate([], EMBODIMENT)
    assert (found.reached, found.self_stopped) == (Proportion(0, 0), Proportion(0, 0))
    assert np.isnan(found.mean_steps)
    assert found.reached.to_plain()['rate'] is None


def test_a_proportion_prints_counts_rate_and_interval():
    assert str(Proportion(8, 10)) == '8 of 10 (80 % [49, 94])'
    assert str(Proportion(0, 0)) == '0 of 0'


def test_episodes_of_unknown_truth_do_not_count():
    unknown = make_episode(EMBODIMENT, true_success=None, true_success_per_step=None)
    assert success_rate([unknown]) == Proportion(0, 0)


def test_detections_of_episodes_are_compared_with_the_truth():
    found = detect_per_episode(EPISODES, EMBODIMENT.episode)
    assert (found.true_positives, found.false_positives) == (1, 1)
    assert (found.false_negatives, found.true_negatives) == (1, 1)
    assert (found.precision, found.recall) == (0.5, 0.5)


def test_detections_of_observations_are_compared_with_the_truth():
    found = detect_per_frame(EPISODES, threshold=2.0)
    assert (found.true_positives, found.false_positives) == (1, 3)
    assert (found.false_negatives, found.true_negatives) == (1, 7)


def test_episodes_without_steps_to_go_do_not_count_for_the_detector():
    silent = make_episode(EMBODIMENT, steps_to_go=np.full(5, np.nan, np.float32))
    assert detect_per_frame([silent], 2.0) == detect([], [])
    assert detect_per_episode([silent], EMBODIMENT.episode).to_plain()['precision'] is None


def test_a_detection_that_did_not_end_the_episode_counts():
    late = episode([0, 0, 1, 1, 0], [9, 3, 2, 2, 9], fired=False)
    assert detect_per_episode([late], EMBODIMENT.episode).true_positives == 1
    assert self_stopped([late], EMBODIMENT.episode) == Proportion(1, 1)


@pytest.mark.parametrize('termination', [Termination.TIMEOUT, Termination.TERMINATED])
def test_an_episode_at_its_goal_without_a_detection_is_no_self_stopped_success(termination):
    silent = replace(episode([0, 0, 1, 1], [9, 9, 9, 2], fired=False), termination=termination)
    assert self_stopped([silent], EMBODIMENT.episode) == Proportion(0, 1)
    assert success_rate([silent]) == Proportion(1, 1)


def test_self_stopped_successes_are_the_true_detections():
    found = detect_per_episode(EPISODES, EMBODIMENT.episode)
    assert self_stopped(EPISODES, EMBODIMENT.episode).successes == found.true_positives


def test_a_goal_that_is_left_before_the_detection_is_no_self_stopped_success():
    assert is_self_stopped(np.array([False, True, True]), 2)
    assert not is_self_stopped(np.array([False, True, False]), 2)
    assert not is_self_stopped(np.array([True, True, True]), None)


def test_an_episode_that_the_detector_ends_too_early_is_no_self_stopped_success():
    early = episode([0, 0, 0, 1], [9, 2, 2, 2], fired=True)
    assert self_stopped([early], EMBODIMENT.episode) == Proportion(0, 1)
    assert steps_to_goal(early) == 3
