"""What the success detector does on held-out demonstrations, by hand."""

from __future__ import annotations

from efm_core.episode_rules import EpisodeRules
from efm_trainer.detector import examine, HeldOut, Proposal, propose
import numpy as np
import pytest

RULES = EpisodeRules(success_threshold=1.0, success_dwell=2)


def held_out(*steps_to_go):
    return HeldOut(np.array(steps_to_go), 5)  # of six observations, the last is the goal


RIGHT = held_out(5, 4, 3, 2, 0.9, 0.2)
LATE = held_out(5, 4, 3, 3, 2, 1.4)
EARLY = held_out(0.8, 0.7, 3, 2, 1, 0)
ONE_STEP_EARLY = held_out(5, 4, 3, 0.9, 0.8, 0.1)


@pytest.mark.parametrize(
    ('demonstrations', 'fired', 'right'),
    [
        ([RIGHT], 1, 1),
        ([LATE], 0, 0),
        ([EARLY], 1, 0),
        ([ONE_STEP_EARLY], 1, 0),
        ([RIGHT, LATE, EARLY, RIGHT], 3, 2),
    ],
)
def test_a_detection_is_right_at_the_goal_and_wrong_before(demonstrations, fired, right):
    (found,) = examine(demonstrations, RULES, ())
    assert (found.threshold, found.reached) == (1.0, len(demonstrations))
    assert (found.fired, found.right) == (fired, right)
    assert found.recall == right / len(demonstrations)
    assert found.precision == pytest.approx(right / fired if fired else np.nan, nan_ok=True)


def test_a_larger_threshold_fires_earlier():
    found = {one.threshold: one for one in examine([RIGHT, LATE, LATE], RULES, (2.0, 4.0))}
    assert list(found) == [1.0, 2.0, 4.0]
    assert [found[s].right for s in found] == [1, 2, 0]
    assert propose(found.values()) == Proposal(2.0, dwell=2)


def test_of_equal_thresholds_the_smallest_is_proposed():
    assert propose(examine([RIGHT], RULES, (0.9, 1.0, 1.5))).threshold == 0.9
