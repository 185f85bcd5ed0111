from __future__ import annotations

from dataclasses import replace

from efm_experiments.config import Setting, TINY, worlds
from efm_experiments.table import demonstrations as made
from efm_experiments.table.practice import Grouped, reached_at, steps, success
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('EFM_CACHE', str(tmp_path))


def test_success_counts_goals_within_the_limit():
    reached = [10, 40, 41, -1]
    assert success(reached, 40) == 0.5
    assert success(reached, 60) == 0.75


def test_steps_of_what_does_not_arrive_are_the_limit():
    assert steps([10, 40, 41, -1], 40) == (10 + 40 + 40 + 40) / 4


def test_the_settings_rules_reach_the_robot():
    robot = Setting(limit=33, threshold=1.5, dwell=3, steps_to_go_bins=31).embodiment
    assert (robot.episode.max_steps, robot.episode.success_threshold) == (33, 1.5)
    assert (robot.episode.success_dwell, robot.steps_to_go.bins) == (3, 31)


def test_demonstrations_come_back_from_disk_as_they_were():
    robot = TINY.embodiment
    first = made.demonstrations(2, 0, 'tool', robot, size=2)
    again = made.demonstrations(2, 0, 'tool', robot, size=2)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
        assert (one.instruction, one.seed) == (other.instruction, other.seed)
        assert reached_at(one) == len(one)


def test_a_larger_set_of_demonstrations_holds_the_smaller_one(monkeypatch):
    robot = TINY.embodiment
    small = made.demonstrations(1, 0, 'tool', robot, size=1)
    large = made.demonstrations(2, 0, 'tool', robot, size=1)
    assert small[0].seed == large[0].seed
    assert large[1].seed != large[0].seed


def test_a_group_meets_one_scene():
    (table,) = worlds(1, 'tool', 'train')
    grouped = Grouped(table, 4)
    positions = []
    for seed in (8, 11, 12):
        grouped.reset(seed)
        positions.append(table.tool_position())
    np.testing.assert_array_equal(positions[0], positions[1])
    assert not np.array_equal(positions[0], positions[2])


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(ValueError, match='gamma'):
        replace(TINY, gamma=1.5)
