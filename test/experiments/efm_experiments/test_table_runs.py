from __future__ import annotations

from dataclasses import replace

from efm_experiments.config import ExperimentConfig, make_tables, TINY
from efm_experiments.table import demonstrations as made
from efm_experiments.table.evaluation import (
    mean_steps,
    reached_at,
    self_stopped_rate,
    success_rate,
)
from efm_experiments.table.practice import RepeatedScenes
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('EFM_CACHE', str(tmp_path))


def test_reached_success_counts_goals_within_the_limit():
    reached = [10, 40, 41, -1]
    assert success_rate(reached, 40) == 0.5
    assert success_rate(reached, 60) == 0.75


def test_self_stopped_success_needs_the_goal_before_the_detection():
    reached = [10, 20, 30, 50, -1, -1]
    fired = [12, 15, -1, 70, 5, -1]  # in time, early, never, after the limit, false, never
    assert self_stopped_rate(reached, fired, 60) == 3 / 6
    assert self_stopped_rate(reached, fired, 40) == 2 / 6


def test_an_episode_that_misses_its_goal_counts_the_limit_as_its_steps():
    assert mean_steps([10, 40, 41, -1], 40) == (10 + 40 + 40 + 40) / 4


def test_the_embodiment_has_the_limits_and_bins_of_the_config():
    robot = ExperimentConfig(
        max_steps=33, success_threshold=1.5, success_dwell=3, steps_to_go_bins=31
    ).embodiment
    assert (robot.episode.max_steps, robot.episode.success_threshold) == (33, 1.5)
    assert (robot.episode.success_dwell, robot.steps_to_go.bins) == (3, 31)


def test_demonstrations_from_disk_equal_the_collected_ones():
    robot = TINY.embodiment
    first = made.demonstrations(2, 0, 'tool', robot, size=2)
    again = made.demonstrations(2, 0, 'tool', robot, size=2)
    for one, other in zip(first, again, strict=True):
        assert one.observations.equals(other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
        assert (one.instruction, one.seed) == (other.instruction, other.seed)
        assert reached_at(one) == len(one)


def test_a_larger_set_of_demonstrations_contains_the_smaller_one(monkeypatch):
    robot = TINY.embodiment
    small = made.demonstrations(1, 0, 'tool', robot, size=1)
    large = made.demonstrations(2, 0, 'tool', robot, size=1)
    assert small[0].seed == large[0].seed
    assert large[1].seed != large[0].seed


def test_a_group_of_seeds_has_one_scene():
    (table,) = make_tables(1, 'tool', 'train')
    grouped = RepeatedScenes(table, 4)
    positions = []
    for seed in (8, 11, 12):
        grouped.reset(seed)
        positions.append(table.tool_position())
    np.testing.assert_array_equal(positions[0], positions[1])
    assert not np.array_equal(positions[0], positions[2])


def test_a_value_out_of_range_is_refused():
    with pytest.raises(ValueError, match='gamma'):
        replace(TINY, gamma=1.5)
