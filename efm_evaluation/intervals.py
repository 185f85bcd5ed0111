"""Confidence intervals of 95 %: over episodes, over seeds, and of paired differences."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace
import math

import numpy as np
from numpy.typing import ArrayLike
import scipy  # it loads scipy.stats, which takes a second, at the first use

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; the interval is NaN where it is unknown."""

    mean: float
    low: float
    _: KW_ONLY
    high: float
    count: int

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """Return mean and interval, such as ``2.0 [1.5, 2.5]``; ``-`` if the mean is NaN."""
        if math.isnan(self.mean):
            return '-'
        mean, low, high = (f'{scale * value:.{digits}f}' for value in self.ends)
        return mean if math.isnan(self.low) else f'{mean} [{low}, {high}]'

    @property
    def ends(self) -> tuple[float, float, float]:
        """Mean, lower and upper end."""
        return self.mean, self.low, self.high


def over_seeds(values: ArrayLike) -> Estimate:
    """Return the mean over seeds with Student's t interval; a single seed has no interval."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return Estimate(math.nan, math.nan, high=math.nan, count=0)
    mean = float(numbers.mean())
    error = scipy.stats.sem(numbers) if len(numbers) > 1 else math.nan
    if error == 0:
        return Estimate(mean, mean, high=mean, count=len(numbers))
    low, high = scipy.stats.t.interval(LEVEL, len(numbers) - 1, mean, error)
    return Estimate(mean, float(low), high=float(high), count=len(numbers))


def rate_over_seeds(values: ArrayLike) -> Estimate:
    """Return the mean of rates over seeds with Student's t interval, cut to 0 to 1."""
    found = over_seeds(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def wilson(successes: int, count: int) -> tuple[float, float]:
    """
    Return the ends of Wilson's 95 % interval of a rate; (0, 1) without any trial.

    :param successes: at most ``count``.
    """
    if not count:
        return 0.0, 1.0
    ends = scipy.stats.binomtest(successes, count).proportion_ci(LEVEL, method='wilson')
    return float(ends.low), float(ends.high)


def over_episodes(hits: ArrayLike) -> Estimate:
    """Return the rate of hits among episodes with its Wilson interval."""
    found = np.asarray(hits, bool)
    low, high = wilson(int(found.sum()), len(found))
    mean = float(found.mean()) if len(found) else math.nan
    return Estimate(mean, low, high=high, count=len(found))


def paired_over_seeds(one: ArrayLike, other: ArrayLike) -> Estimate:
    """Return the mean of ``one`` - ``other`` over seeds, with the t interval of the mean."""
    return over_seeds(np.asarray(one, np.float64) - np.asarray(other, np.float64))


def paired_over_scenes(one: ArrayLike, other: ArrayLike, seed: int = 0) -> Estimate:
    """Return the mean of ``one`` - ``other`` over scenes, with its bootstrap interval."""
    pair = np.asarray(one, np.float64), np.asarray(other, np.float64)
    difference = float(np.mean(pair[0] - pair[1]))
    if np.ptp(pair[0] - pair[1]) == 0:
        return Estimate(difference, difference, high=difference, count=len(pair[0]))
    found = scipy.stats.bootstrap(
        pair,
        lambda a, b, axis=-1: np.mean(a - b, axis=axis),
        paired=True,
        confidence_level=LEVEL,
        method='percentile',
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(difference, float(found.low), high=float(found.high), count=len(pair[0]))
