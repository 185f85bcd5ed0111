from efm_reward.reward import returns, rewards
import numpy as np
import pytest


def test_a_reward_is_the_decrease_of_steps_to_go():
    assert rewards(np.array([10.0, 8.0, 9.0, 2.0])).tolist() == [2.0, -1.0, 7.0]


def test_the_rewards_of_an_episode_sum_to_first_minus_last():
    d = np.random.default_rng(0).uniform(0, 60, 41).astype(np.float32)
    assert rewards(d).sum() == pytest.approx(d[0] - d[-1], abs=1e-3)


def test_an_episode_without_actions_has_no_rewards():
    assert rewards(np.array([5.0])).shape == (0,)


@pytest.mark.parametrize('d', [[], [1.0, float('nan')], [[1.0, 2.0]]])
def test_empty_or_infinite_steps_to_go_are_refused(d):
    with pytest.raises(ValueError, match='steps_to_go: expected'):
        rewards(np.array(d))


def test_returns_by_hand():
    assert returns(np.array([1.0, 0.0, 4.0]), 0.5).tolist() == [2.0, 2.0, 4.0]


def test_the_return_of_steady_progress_is_a_geometric_series():
    t = np.arange(30)
    expected = 2 * (1 - 0.9 ** (30 - t)) / (1 - 0.9)
    np.testing.assert_allclose(returns(np.full(30, 2.0), 0.9), expected, rtol=1e-6)


def test_the_closed_form_of_the_method_holds():
    # R_t = sum of (1 - gamma) gamma^(i-t) V(o_i+1) + gamma^(T+1-t) V(o_T+1) - V(o_t), with V = -d.
    gamma = 0.9
    d = np.random.default_rng(1).uniform(0, 60, 12)
    last = 10
    value = -d
    expected = [
        sum((1 - gamma) * gamma ** (i - t) * value[i + 1] for i in range(t, last + 1))
        + gamma ** (last + 1 - t) * value[last + 1]
        - value[t]
        for t in range(last + 1)
    ]
    np.testing.assert_allclose(returns(rewards(d), gamma), expected, rtol=1e-3, atol=1e-3)
