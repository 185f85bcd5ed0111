from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from efm_core.episode import Kind
from efm_core.episode_rules import EndingRules
from efm_experiments.config import ExperimentConfig, make_tables, TINY
from efm_experiments.table import demonstrations as made
from efm_experiments.table.evaluation import (
    EvaluationRunner,
    mean_steps,
    reached_at,
    self_stopped_rate,
    StoredTrace,
    success_rate,
    success_values,
)
from efm_experiments.table.practice import RepeatedScenes
from efm_sim.rollout import RunningEpisode
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('EFM_CACHE', str(tmp_path))


def test_reached_success_counts_goals_within_the_limit():
    reached = [10, 40, 41, -1]
    assert success_rate(reached, 40) == 0.5
    assert success_rate(reached, 60) == 0.75


def test_self_stopped_success_needs_a_detection_at_the_goal_within_the_limit():
    fired = [12, 15, -1, 70, 50]  # at the goal, early, never, late, at the goal
    right = [1, 0, 0, 1, 1]
    assert self_stopped_rate(fired, right, 60) == 2 / 5
    assert self_stopped_rate(fired, right, 40) == 1 / 5


def test_an_evaluation_goes_on_after_the_goal_until_the_time_limit_of_practice():
    rules = EndingRules(max_steps=40, detector_ends_episode=False)
    world = SimpleNamespace(terminated=lambda: False)
    running = RunningEpisode(world, 0, seed=0, rules=rules)
    evaluation = EvaluationRunner(
        20,
        TINY.embodiment,
        SimpleNamespace(),
        reward_model=None,
        kind=Kind.EVALUATION,
        max_steps=40,
        on_episode=lambda episode: None,
        detector_ends_episode=False,
    )

    def end(goal):
        """Return the steps after which an episode ends that reaches its goal after ``goal``."""
        for steps in range(41):
            running.truth = [False] * goal + [True] * (steps + 1 - goal)
            running.truth = running.truth[: steps + 1]
            running.actions = [None] * steps
            if evaluation._ending(running, False):
                return steps
        return None

    assert [end(goal) for goal in (3, 13, 30, 39)] == [20, 20, 36, 40]


def test_the_values_of_an_evaluation_hold_the_truth_at_the_detection():
    robot = TINY.embodiment.episode
    assert (robot.success_threshold, robot.success_dwell) == (2, 2)
    truth = [[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]]
    d = [[9, 9, 2, 2], [9, 9, 2, 2], [9, 2, 2, 2], [9, 9, 9, 2]]
    pairs = zip(d, truth, strict=True)
    traces = [StoredTrace(np.array(steps), np.array(goal, bool)) for steps, goal in pairs]
    assert success_values(traces, TINY, 'after') == {
        'reached_after': [2, 1, 3, 2],
        'fired_after': [3, 3, 2, -1],
        'right_after': [1, 0, 0, 0],
    }


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
