"""The choice of threshold and dwell from labelled attempts, and the gate of practice, by hand."""

from __future__ import annotations

from efm_core.episode_rules import EpisodeRules
from efm_trainer.detector import (
    check_detector,
    choose,
    DetectorReport,
    examine,
    HeldOut,
    interval,
    measure,
    Proposal,
    read_report,
    report,
    upper_bound,
)
import numpy as np
import pytest

RULES = EpisodeRules(success_threshold=1.0, success_dwell=2)
FAR = 30.0


def success(low, after=3, goal=4):
    """Return an attempt whose d is ``low`` from its goal on."""
    return HeldOut(np.array([FAR] * goal + [low] * after), goal)


def failure(low=FAR, length=2):
    """Return an attempt that never succeeds; d is ``low`` on some observations."""
    return HeldOut(np.array([FAR, FAR] + [low] * length + [FAR]), None)


def chosen(attempts, thresholds=(1.0, 2.0, 4.0, 8.0), dwells=(), **options):
    return choose([], examine(attempts, RULES, thresholds, dwells), RULES, **options)


def test_within_the_bound_the_largest_recall_is_chosen():
    attempts = [success(0.5), success(3.0), *(failure() for _ in range(40)), failure(6.0)]
    found = chosen(attempts)
    assert (found.threshold, found.dwell) == (4.0, 2)
    # with s = 8 there is one false success in 41 failures, which is within the bound too, but no
    # further success is found
    assert found.false_success_bound == pytest.approx(1 - 0.05 ** (1 / 41))


def test_a_candidate_beyond_the_bound_is_left_out_even_with_more_recall():
    attempts = [success(0.5), success(3.0), *(failure() for _ in range(30)), failure(3.5)]
    attempts += [failure(3.5) for _ in range(4)]
    assert chosen(attempts).threshold == 1.0
    assert chosen(attempts, max_false_success=0.4).threshold == 4.0


def test_with_few_failures_the_fewest_false_successes_come_first():
    attempts = [success(0.5), success(3.0), failure(3.5), failure()]
    found = chosen(attempts)
    assert found.threshold == 1.0
    assert found.false_success_bound == pytest.approx(1 - 0.05 ** (1 / 2))


def test_of_equal_candidates_the_smallest_threshold_is_chosen():
    assert chosen([success(0.5), failure()]).threshold == 1.0


def test_a_longer_dwell_keeps_out_a_short_dip_and_its_bound_pays_for_the_choice():
    attempts = [success(0.5, after=4), failure(0.5, length=2)]
    found = chosen(attempts, dwells=(2, 3))
    assert (found.threshold, found.dwell) == (1.0, 3)
    assert found.false_success_bound == pytest.approx(1 - 0.025)  # one failure, two dwells


def test_without_a_success_among_the_attempts_the_demonstrations_decide():
    demonstrations = [HeldOut(np.array([FAR, 3.0, 3.0]), 2)]
    figures = examine([failure() for _ in range(3)], RULES, (1.0, 4.0))
    assert choose(demonstrations, figures, RULES).threshold == 4.0


def test_detections_count_from_the_first_observation_at_the_goal():
    early = HeldOut(np.array([FAR, 0.5, 0.5, 0.5]), 3)
    found = measure([success(0.5), early, failure(0.5), failure()], RULES)
    assert (found.episodes, found.reached, found.fired) == (4, 2, 3)
    assert (found.right, found.false_successes) == (1, 1)
    assert (found.precision, found.recall) == (1 / 3, 1 / 2)
    assert measure([early], RULES, tolerance=1.0).right == 1


def test_bounds_are_those_of_clopper_and_pearson():
    assert upper_bound(0, 29) == pytest.approx(1 - 0.05 ** (1 / 29))
    assert upper_bound(0, 0) == upper_bound(3, 3) == 1.0
    assert interval(0, 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    assert interval(0, 0) == (0.0, 1.0)


def test_a_report_is_read_as_it_was_written(tmp_path):
    made = report([success(0.5)], [success(0.25), failure()], RULES)
    made.write(tmp_path)
    found = read_report(tmp_path)
    assert found.proposed == made.proposed
    assert found.second is None
    for one, other in zip(found.attempts, made.attempts, strict=True):
        assert one.reached_at == other.reached_at
        np.testing.assert_allclose(one.steps_to_go, other.steps_to_go)


def test_no_report_and_that_of_an_earlier_version_are_none(tmp_path):
    assert read_report(tmp_path) is None
    (tmp_path / 'detector.json').write_text('[{"threshold": 1.0}]')
    assert read_report(tmp_path) is None
    (tmp_path / 'detector.json').write_text('{')
    with pytest.raises(ValueError, match='expected figures of stage 1'):
        read_report(tmp_path)


def made_report(demonstrations, attempts=()):
    return DetectorReport(demonstrations, attempts, proposed=Proposal(0.75, dwell=3))


def test_practice_is_refused_where_labelled_attempts_show_a_wrong_detector():
    found = made_report([success(0.5)], [success(0.5), failure(0.5)])
    with pytest.raises(ValueError, match=r'precision 0.50 .* at least 0.9 before .* s = 0.75, dw'):
        check_detector(found, RULES, 0.9)
    (line,) = check_detector(found, RULES, 0.5)
    assert 'on held-out attempts, s = 1, dwell 2: fired in 2 of 2, right in 1' in line
    assert check_detector(found, RULES, 0.0) == [line]


def test_without_labels_demonstrations_count_and_a_warning_says_what_is_missing():
    lines = check_detector(made_report([success(0.5)]), RULES, 0.9)
    assert 'warning: the success detector was not measured on failures' in lines[0]
    assert 'efm label' in lines[0]
    assert 'on held-out demonstrations' in lines[1]
    early = HeldOut(np.array([FAR, 0.5, 0.5, FAR, FAR, FAR]), 5)
    with pytest.raises(ValueError, match=r'precision 0\.00'):
        check_detector(made_report([early]), RULES, 0.9)
    one_step_early = HeldOut(np.array([FAR, 0.5, 0.5, 0.5]), 3)
    assert 'right in 1' in check_detector(made_report([one_step_early]), RULES, 0.9)[1]


def test_a_detector_that_never_fired_or_was_never_measured_is_named():
    assert (
        'it never fired in 1 episodes' in check_detector(made_report([failure()]), RULES, 0.9)[1]
    )
    assert 'was not measured' in check_detector(None, RULES, 0.9)[0]
