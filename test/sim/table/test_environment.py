"""The table as a Gymnasium environment."""

from __future__ import annotations

import efm_sim  # noqa: F401, registers the environment
import gymnasium
from gymnasium.utils.env_checker import check_env
import numpy as np
import pytest


@pytest.fixture(scope='module')
def environment():
    made = gymnasium.make('efm/Table-v0', body='tool', render_mode='rgb_array')
    yield made
    made.close()


@pytest.mark.parametrize('body', ['arm', 'tool'])
def test_it_passes_gymnasiums_checker(body):
    made = gymnasium.make('efm/Table-v0', body=body)  # the checker makes one that renders
    check_env(made.unwrapped, skip_render_check=body == 'tool')  # it is drawn by the same code
    made.close()


def test_equal_seeds_give_equal_episodes(environment):
    first, _ = environment.reset(seed=3)
    environment.step(environment.action_space.sample())
    again, _ = environment.reset(seed=3)
    assert first['instruction'] == again['instruction']
    assert np.array_equal(first['image'], again['image'])


def test_without_a_seed_episodes_differ(environment):
    environment.reset(seed=3)
    first, second = (environment.reset()[0]['image'] for _ in range(2))
    assert not np.array_equal(first, second)


def test_an_episode_is_truncated_after_40_steps(environment):
    environment.reset(seed=0)
    ends = [environment.step(np.zeros(2, np.float32))[2:4] for _ in range(40)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


def test_success_ends_the_episode_with_reward_one(environment):
    environment.reset(seed=0)
    table = environment.unwrapped.table
    blocks = np.array([position[:2] for position in table.block_positions().values()])
    types = list(table.block_positions())
    goal = table.positions()[table.task.target][:2]
    blocks[types.index(table.task.source)] = goal + np.array([0.045, 0])
    table.arrange(tuple(types), blocks, np.zeros(6), np.array([-0.19, -0.19]))
    _, reward, terminated, _, information = environment.step(np.zeros(2, np.float32))
    assert (reward, terminated, information['success']) == (1.0, True, True)
