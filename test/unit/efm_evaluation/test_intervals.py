from __future__ import annotations

from efm_evaluation.intervals import (
    over_episodes,
    over_seeds,
    paired_over_scenes,
    paired_over_seeds,
)
import numpy as np
import pytest


def test_t_interval_of_three_seeds():
    # Mean 2, standard error 1/sqrt(3), 97.5 % quantile of t with 2 degrees of freedom 4.3027.
    found = over_seeds([1, 2, 3])
    assert found.mean == 2
    assert found.high == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-4)
    assert found.low == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-4)


def test_one_seed_has_no_interval():
    found = over_seeds([0.5])
    assert found.mean == 0.5
    assert np.isnan(found.low)
    assert found.text(100) == '50.0'


def test_seeds_that_agree_have_an_interval_of_no_width():
    assert over_seeds([1.0, 1.0, 1.0]).text() == '1.0 [1.0, 1.0]'


def test_no_seed_is_no_number():
    assert np.isnan(over_seeds([]).mean)


def test_wilson_interval_of_all_hits_stays_below_one_at_the_lower_end():
    # Of n hits in n the lower end is n / (n + z^2), z = 1.96.
    found = over_episodes([True] * 10)
    assert found.low == pytest.approx(10 / (10 + 1.96**2), abs=1e-4)
    assert found.high == pytest.approx(1)


def test_paired_differences_do_not_know_how_hard_a_seed_is():
    found = paired_over_seeds([11, 52, 93], [10, 51, 92])
    assert found.ends == (1, 1, 1)


def test_scenes_that_both_solve_alike_differ_by_nothing():
    assert paired_over_scenes([1, 0, 1], [1, 0, 1]).ends == (0, 0, 0)


def test_bootstrap_over_scenes_is_repeatable_and_holds_the_mean():
    rng = np.random.default_rng(3)
    one = rng.random(200) < 0.8
    other = rng.random(200) < 0.5
    found = paired_over_scenes(one, other)
    assert found.low < found.mean < found.high
    assert found == paired_over_scenes(one, other)
