from __future__ import annotations

from efm_experiments.experiment import Record
from efm_experiments.studies.over_optimisation import (
    checkpoints,
    detected_after,
    late_mean,
    peak,
)
from efm_experiments.table.report import reached_rate
import pytest


def record(**values):
    return Record(
        'plain',
        0,
        digest='',
        config={},
        values=values,
        seconds=0.0,
        cpu_seconds=0.0,
        date='',
        commit='',
        machine='',
    )


def test_a_checkpoint_is_chosen_by_episodes_that_it_has_not_learned_from():
    found = record(
        practice_episodes=[8, 16, 24, 80, 88], practice_detected=[1.0, 1.0, 0.5, 0.0, 1.0]
    )
    # The checkpoint after 16 counts the updates at 24 and 80, not its own.
    assert detected_after(found, 16) == 0.25
    assert detected_after(found, 88) == 0


def test_the_peak_is_reported_at_other_scenes_than_those_that_selected_it():
    # One half selects the first checkpoint, the other the second, by chance.
    found = record(curve_halves=[[0.9, 0.7], [0.8, 0.8], [0.5, 0.75]])
    assert peak(found) == pytest.approx((0.7 + 0.8) / 2)


def test_the_own_choice_needs_no_simulator():
    found = record(
        curve_success=[0.5, 0.9, 0.6],
        curve_halves=[[0.5, 0.5], [0.9, 0.9], [0.6, 0.6]],
        curve_episodes=[8, 16, 24],
        practice_episodes=[8, 88, 96],
        practice_detected=[0.9, 0.2, 0.8],
        curve_reached=[[50, -1], [50, 50], [-1, -1]],
        reached_after=[50, -1],
    )
    assert checkpoints(found) == (0.9, (1 + 0 + 0.5) / 3, 0.6)


def test_late_success_is_the_mean_of_the_last_three_evaluations():
    reached = {'curve_reached': [[-1], [9], [9]], 'reached_after': [-1]}
    fired = {'curve_fired': [[9], [9], [9]], 'fired_after': [9]}
    right = {'curve_right': [[1], [0], [0]], 'right_after': [1]}
    found = record(curve_episodes=[8, 16, 24], **reached, **fired, **right)
    assert late_mean(found, reached_rate) == pytest.approx(2 / 3)
    assert late_mean(found) == pytest.approx(1 / 3)
    assert late_mean(record(curve_episodes=[8, 16, 24], **reached)) is None
