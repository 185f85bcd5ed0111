"""The scripted teacher."""

from __future__ import annotations

from efm_sim.table.config import DemonstratorConfig, TableConfig
from efm_sim.table.demonstrator import (
    Demonstrator,
    is_in_the_way,
    load_demonstrator,
    pass_by,
    unit,
)
from efm_sim.table.world import Table
import numpy as np
import pytest

STILL = DemonstratorConfig(noise=0.0, slowest=1.0)


def direction(tool, source, target, *others) -> np.ndarray:
    teacher = Demonstrator(STILL)
    teacher.begin(0)
    points = [tool, source, target, *others]
    return teacher.act({str(index): np.array([*point, 0.0]) for index, point in enumerate(points)})


def test_behind_the_source_it_pushes_towards_the_target():
    np.testing.assert_allclose(direction((-0.04, 0), (0, 0), (0.1, 0)), [0.025, 0], atol=1e-6)


def test_while_pushing_it_corrects_a_sideways_error():
    x, y = direction((-0.04, 0.005), (0, 0), (0.1, 0))
    assert x > 0
    assert y < 0


def test_in_front_of_the_source_it_goes_around_it():
    x, y = direction((0.06, 0), (0, 0), (0.1, 0))
    assert x < 0.01
    assert abs(y) > 0.01


def test_far_behind_and_lined_up_it_comes_nearer():
    assert direction((-0.1, 0.0), (0, 0), (0.1, 0))[0] > 0.02


@pytest.mark.parametrize(
    ('block', 'expected'),
    [((0.1, 0.0), True), ((0.1, 0.06), False), ((-0.05, 0.0), False), ((0.3, 0.0), False)],
)
def test_what_is_in_the_way(block, expected):
    assert is_in_the_way(np.zeros(2), np.array([0.2, 0.0]), np.array(block)) is expected


def test_a_block_in_the_way_is_passed_on_its_nearer_side():
    heading = pass_by(np.zeros(2), np.array([0.2, 0.0]), [np.array([0.05, 0.01])])
    assert heading[1] < 0
    assert np.linalg.norm(heading) == pytest.approx(1)


def test_unit_of_nothing_is_nothing():
    np.testing.assert_array_equal(unit(np.zeros(2)), [0, 0])


def test_the_same_seed_gives_the_same_actions():
    positions = {
        name: np.array([place, 0.0, 0.0])
        for name, place in (('tool', -0.1), ('a', 0.0), ('b', 0.1))
    }
    teacher = Demonstrator()
    actions = []
    for _ in range(2):
        teacher.begin(7)
        actions.append([teacher.act(positions) for _ in range(5)])
    np.testing.assert_array_equal(*actions)
    teacher.begin(8)
    assert not np.array_equal(teacher.act(positions), actions[0][0])


def test_actions_are_float32_and_within_the_largest():
    teacher = Demonstrator(DemonstratorConfig(noise=2.0))
    teacher.begin(0)
    positions = {
        name: np.array([place, 0.0, 0.0])
        for name, place in (('tool', -0.1), ('a', 0.0), ('b', 0.1))
    }
    actions = np.array([teacher.act(positions) for _ in range(50)])
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= np.float32(0.025)


@pytest.mark.parametrize('body', ['arm', 'tool'])
@pytest.mark.parametrize('task', ['block_to_block', 'block_to_place'])
def test_with_little_noise_it_nearly_always_succeeds(body, task):
    table = Table(TableConfig(body=body, task=task))
    teacher = Demonstrator(DemonstratorConfig(noise=0.25, slowest=1.0))
    successes = 0
    for seed in range(12):
        table.reset(1000 + seed)
        teacher.begin(seed)
        for _ in range(60):
            table.step(teacher.act(table.positions()))
            if table.success():
                break
        successes += table.success()
    assert successes >= 11


def test_speeds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match=r'slowest: expected at most fastest \(0.5\), got 0.6'):
        DemonstratorConfig(slowest=0.6, fastest=0.5)


def test_a_demonstrator_is_found_by_its_name():
    config = DemonstratorConfig(noise=0.1)
    assert load_demonstrator('', config).config is config
    assert type(load_demonstrator('efm_sim.table.demonstrator:Demonstrator')) is Demonstrator


@pytest.mark.parametrize(
    'name',
    [
        'nobody',
        'efm_sim.nowhere:DemonstratorProtocol',
        'efm_sim.table.demonstrator:Nobody',
        ':x',
        'math:pi',
    ],
)
def test_a_demonstrator_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=f'that can be made, got {name!r}: '):
        load_demonstrator(name)
