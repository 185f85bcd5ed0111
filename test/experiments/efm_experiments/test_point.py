from __future__ import annotations

from efm_experiments.studies.point import demonstrate, Points, rollout, SUCCESS_RADIUS
import numpy as np


def one_point(position, goal):
    points = Points(1, np.random.default_rng(0))
    points.positions[:] = position
    points.goals[:] = goal
    return points


def test_constant_acceleration_moves_as_the_sum_of_velocities():
    points = one_point((0, 0), (0.9, 0.9))
    points.step(np.array([[0.001, 0.0]]), np.array([True]))
    # 10 substeps: velocities 1, 2 .. 10 thousandths, whose sum is 55.
    np.testing.assert_allclose(points.positions, [[0.055, 0.0]])
    np.testing.assert_allclose(points.velocities, [[0.010, 0.0]])


def test_a_point_that_is_not_moving_stays():
    points = one_point((0, 0), (0.9, 0.9))
    points.step(np.ones((1, 2)), np.array([False]))
    np.testing.assert_array_equal(points.positions, [[0, 0]])


def test_an_episode_ends_at_the_goal():
    points = one_point((0, 0), (0.2, 0.0))
    (trace,) = rollout(points, lambda seen: np.full((1, 2), [0.001, 0.0]), limit=9)
    assert trace.success
    assert len(trace) == len(trace.actions) == 1
    assert np.linalg.norm(trace.observations[-1, :2] - [0.2, 0.0]) < SUCCESS_RADIUS


def test_an_episode_ends_at_its_limit():
    points = one_point((0, 0), (0.9, 0.0))
    (trace,) = rollout(points, lambda seen: np.zeros((1, 2)), limit=7)
    assert (trace.success, len(trace)) == (False, 7)


def test_the_episode_of_a_lost_point_ends():
    points = one_point((0, 0), (0.9, 0.0))
    (trace,) = rollout(points, lambda seen: np.full((1, 2), [0.0, 0.2]), limit=99)
    # 55 times 0.2 after the first step.
    assert (trace.success, len(trace)) == (False, 1)


def test_every_demonstration_succeeds_and_is_not_short():
    traces = demonstrate(30, 2, np.random.default_rng(1))
    assert len(traces) == 30
    assert all(trace.success and len(trace.observations) >= 10 for trace in traces)
    assert all(len(trace.actions) == len(trace.observations) for trace in traces)


def test_waypoints_make_demonstrations_longer():
    lengths = [
        np.mean([len(t) for t in demonstrate(100, count, np.random.default_rng(2))])
        for count in (0, 5)
    ]
    assert lengths[1] > 1.5 * lengths[0]
