"""
The definition of reward and return. No other file computes them.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 2::

    r(o_t, o_t+1, g) = d(o_t, g) - d(o_t+1, g)
    R_t              = sum over i from t to T of gamma^(i - t) r_i
"""

from __future__ import annotations

import numpy as np


def rewards(steps_to_go: np.ndarray) -> np.ndarray:
    """
    Return the reward of each action, the decrease of steps-to-go, ``(T,)`` float32 [steps].

    :param steps_to_go: d(o, g) of every observation, including the last, ``(T + 1,)`` [steps].
    :raises ValueError: when it is empty or not finite.
    """
    d = np.asarray(steps_to_go, np.float32)
    if d.ndim != 1 or len(d) == 0 or not np.isfinite(d).all():
        raise ValueError(f'steps_to_go: expected T + 1 finite numbers [steps], got {d}')
    return d[:-1] - d[1:]


def returns(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """
    Return the discounted sum of rewards from each action to the end, ``(T,)`` float32 [steps].

    :param rewards: ``(T,)`` [steps].
    :param gamma: discount factor.
    """
    total = 0.0
    result = np.zeros(len(rewards), np.float32)
    for t in reversed(range(len(rewards))):
        total = float(rewards[t]) + gamma * total
        result[t] = total
    return result
