"""What `efm train` says about the success detector."""

from __future__ import annotations

from dataclasses import replace

from efm.train import describe_detector
from efm_trainer.detector import HeldOut, report
import numpy as np
import pytest

GOAL = [HeldOut(np.array([9, 5, d, d]), 3) for d in (0.9, 0.9, 1.4, 1.4)]
FAILURES = [HeldOut(np.array([9, 5, 5, d]), None) for d in (30, 30, 9, 9)]


def said(embodiment, threshold, attempts=()):
    rules = replace(embodiment.episode, success_threshold=threshold, success_dwell=2)
    robot = replace(embodiment, episode=rules)
    return describe_detector(report(GOAL, attempts, rules), robot)


@pytest.mark.parametrize(
    ('threshold', 'expected'),
    [
        (
            1.0,
            's = 1, dwell 2: fired in 2 of 4, right in 2: precision 1.00 [0.16, 1.00], recall '
            '0.50; s = 1.5, dwell 2: fired in 4 of 4, right in 4: precision 1.00 [0.40, 1.00], '
            'recall 1.00. Set task.success_threshold',
        ),
        (1.5, 's = 1.5, dwell 2: fired in 4 of 4, right in 4: precision 1.00 [0.40, 1.00], rec'),
    ],
)
def test_a_better_threshold_is_named_and_what_was_not_measured(embodiment, threshold, expected):
    found = said(embodiment, threshold)
    assert expected in found
    assert 'do not show what the detector does in attempts that fail' in found


def test_of_attempts_the_bound_of_false_successes_is_named(embodiment):
    found = said(embodiment, 1.5, GOAL + FAILURES)
    assert 'on held-out attempts, s = 1.5, dwell 2: fired in 4 of 8, right in 4' in found
    # none of 4 failures: 1 - (0.05 / 2) ** (1 / 4), the error shared by two dwells
    assert 'At most 60 % of the failed attempts' in found
    assert 'do not show' not in found
