"""gym-pusht as a world, and its scripted demonstrator."""

from __future__ import annotations

from pathlib import Path

from efm_core.embodiment import load_embodiment
from efm_core.preprocessing import observe
from efm_sim.gym.pusht import (
    corner_error,
    corners,
    PushTConfig,
    PushTDemonstrator,
    simulate_pushes,
)
from efm_sim.gym.world import load_world, TimeStep
from efm_sim.scene import Scene
import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[3] / 'config' / 'embodiments' / 'pusht.yaml'
UP = np.pi / 2


@pytest.fixture(scope='module')
def world():
    made = load_world(PATH)
    yield made
    made.close()


@pytest.fixture(scope='module')
def demonstrator():
    return PushTDemonstrator(PushTConfig(noise=0.0))


def test_a_step_moves_the_pusher_and_a_zero_action_does_not(world):
    world.reset(3)
    first = world.render()
    before = world.information['pos_agent']
    for _ in range(3):
        world.step(np.float32([0, 60]))
    moved = world.information['pos_agent'] - before
    assert moved[0] == pytest.approx(0, abs=1e-6)
    assert 30 < moved[1] < 180
    assert (first != world.render()).any()
    for _ in range(6):  # it comes to rest
        world.step(np.zeros(2))
    still = world.information['pos_agent']
    world.step(np.zeros(2))
    np.testing.assert_allclose(world.information['pos_agent'], still, atol=0.5)


def test_success_is_the_coverage_that_the_embodiment_requires(world):
    world.reset(0)
    assert not world.success()
    inner = world._environment.unwrapped
    for offset, done in ((0.0, True), (4.0, True), (40.0, False), (0.0, True)):
        inner.block.angle = np.pi / 4
        inner.block.position = (256.0 + offset, 256.0)
        inner.space.reindex_shapes_for_body(inner.block)
        world._time_step = TimeStep(world._time_step.observation, world.information)
        world.step(np.zeros(2))
        assert world.success() is done
        assert (world.information['coverage'] >= 0.8) is done


def test_the_observation_has_64_pixels(world):
    assert observe(world.images(), load_embodiment(PATH)).images[0].shape == (64, 64, 3)


def test_corners_agree_with_a_calculation_by_hand():
    found = corners(np.array([100.0, 200.0, UP]))
    np.testing.assert_allclose(found[0], [100, 140], atol=1e-9)
    np.testing.assert_allclose(found[4], [-20, 215], atol=1e-9)
    assert corner_error(np.array([3.0, 4.0, 0.5]), np.array([0.0, 0.0, 0.5])) == pytest.approx(5)


def test_a_push_at_the_centre_moves_the_tee_and_one_beside_it_turns_it():
    pushes = simulate_pushes()
    below = (pushes.starts[:, 1] < 0) & (pushes.headings[:, 1] > 0.999)
    order = pushes.starts[below, 0].argsort()
    turned = pushes.moved[below][order, 5, 2]
    assert turned[0] < -0.1 < 0.1 < turned[-1] or turned[-1] < -0.1 < 0.1 < turned[0]
    straight = np.abs(turned).argmin()
    assert pushes.moved[below][order][straight, 5, 1] == pytest.approx(30, abs=4)


def test_the_demonstrator_reaches_most_goals_within_the_time_limit(world, demonstrator):
    limit = load_embodiment(PATH).episode.max_steps
    reached = 0
    for seed in range(6):
        world.reset(seed)
        demonstrator.begin(seed)
        for _ in range(limit):
            if world.success():
                break
            world.step(demonstrator.act(Scene(world.positions())))
        reached += world.success()
        if reached == 4:  # of six at most
            return
    pytest.fail(f'expected 4 goals, got {reached}')


def test_the_noise_of_the_demonstrator_depends_on_the_seed_only(world):
    world.reset(1)
    demonstrator = PushTDemonstrator()
    actions = []
    for seed in (1, 2, 1):
        demonstrator.begin(seed)
        actions.append(demonstrator.act(Scene(world.positions())))
    np.testing.assert_array_equal(actions[0], actions[2])
    assert (actions[0] != actions[1]).any()
    assert np.abs(actions).max() <= 60
