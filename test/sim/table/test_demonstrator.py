"""The scripted demonstrator of the table."""

from __future__ import annotations

from efm_sim.scene import Scene
from efm_sim.table.config import DemonstratorConfig, TableConfig
from efm_sim.table.demonstrator import is_in_the_way, pass_by, TableDemonstrator, unit
from efm_sim.table.world import Table
import numpy as np
import pytest

NOISELESS = DemonstratorConfig(noise=0.0, slowest=1.0)


def direction(tool, source, target, *others) -> np.ndarray:
    demonstrator = TableDemonstrator(NOISELESS)
    demonstrator.begin(0)
    points = [tool, source, target, *others]
    return demonstrator.act(
        Scene({str(index): np.array([*point, 0.0]) for index, point in enumerate(points)})
    )


def test_behind_the_source_it_pushes_towards_the_target():
    np.testing.assert_allclose(direction((-0.04, 0), (0, 0), (0.1, 0)), [0.025, 0], atol=1e-6)


def test_a_push_corrects_a_sideways_error():
    x, y = direction((-0.04, 0.005), (0, 0), (0.1, 0))
    assert x > 0
    assert y < 0


def test_in_front_of_the_source_it_moves_around_it():
    x, y = direction((0.06, 0), (0, 0), (0.1, 0))
    assert x < 0.01
    assert abs(y) > 0.01


def test_far_behind_the_source_it_approaches():
    assert direction((-0.1, 0.0), (0, 0), (0.1, 0))[0] > 0.02


@pytest.mark.parametrize(
    ('block', 'expected'),
    [((0.1, 0.0), True), ((0.1, 0.06), False), ((-0.05, 0.0), False), ((0.3, 0.0), False)],
)
def test_a_block_near_the_straight_line_is_in_the_way(block, expected):
    assert is_in_the_way(np.zeros(2), np.array([0.2, 0.0]), np.array(block)) is expected


def test_a_block_in_the_way_is_passed_on_the_shorter_side():
    heading = pass_by(np.zeros(2), np.array([0.2, 0.0]), [np.array([0.05, 0.01])])
    assert heading[1] < 0
    assert np.linalg.norm(heading) == pytest.approx(1)


def test_unit_of_a_zero_vector_is_zero():
    np.testing.assert_array_equal(unit(np.zeros(2)), [0, 0])


def test_equal_seeds_give_equal_actions():
    positions = {
        name: np.array([place, 0.0, 0.0])
        for name, place in (('tool', -0.1), ('a', 0.0), ('b', 0.1))
    }
    demonstrator = TableDemonstrator()
    actions = []
    for _ in range(2):
        demonstrator.begin(7)
        actions.append([demonstrator.act(Scene(positions)) for _ in range(5)])
    np.testing.assert_array_equal(*actions)
    demonstrator.begin(8)
    assert not np.array_equal(demonstrator.act(Scene(positions)), actions[0][0])


def test_actions_are_float32_and_within_the_largest_action():
    demonstrator = TableDemonstrator(DemonstratorConfig(noise=2.0))
    demonstrator.begin(0)
    positions = {
        name: np.array([place, 0.0, 0.0])
        for name, place in (('tool', -0.1), ('a', 0.0), ('b', 0.1))
    }
    actions = np.array([demonstrator.act(Scene(positions)) for _ in range(50)])
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= np.float32(0.025)


@pytest.mark.parametrize('body', ['arm', 'tool'])
@pytest.mark.parametrize('task', ['block_to_block', 'block_to_place'])
def test_with_little_noise_it_nearly_always_succeeds(body, task):
    table = Table(TableConfig(body=body, task=task))
    demonstrator = TableDemonstrator(DemonstratorConfig(noise=0.25, slowest=1.0))
    successes = 0
    for seed in range(12):
        table.reset(1000 + seed)
        demonstrator.begin(seed)
        for _ in range(60):
            table.step(demonstrator.act(Scene(table.positions())))
            if table.success():
                break
        successes += table.success()
    assert successes >= 11


def test_a_slowest_speed_above_the_fastest_is_refused():
    with pytest.raises(ValueError, match=r'slowest: expected at most fastest \(0.5\), got 0.6'):
        DemonstratorConfig(slowest=0.6, fastest=0.5)
