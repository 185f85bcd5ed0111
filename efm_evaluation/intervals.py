"""How sure a number is: intervals over episodes, over seeds, and of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, KW_ONLY, replace
import math

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; an interval of NaN says that nobody knows."""

    mean: float
    low: float
    _: KW_ONLY
    high: float
    count: int

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """Return it for people: the mean, and the interval if there is one; a dash for nothing."""
        if math.isnan(self.mean):
            return '-'
        mean, low, high = (f'{scale * value:.{digits}f}' for value in self.ends)
        return mean if math.isnan(self.low) else f'{mean} [{low}, {high}]'

    @property
    def ends(self) -> tuple[float, float, float]:
        """Mean, lower and upper end."""
        return self.mean, self.low, self.high


def over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with its t interval; one seed alone has none."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return Estimate(math.nan, math.nan, high=math.nan, count=0)
    mean = float(values.mean())
    error = stats.sem(values) if len(values) > 1 else math.nan
    if error == 0:
        return Estimate(mean, mean, high=mean, count=len(values))
    low, high = stats.t.interval(LEVEL, len(values) - 1, mean, error)
    return Estimate(mean, float(low), high=float(high), count=len(values))


def rate_over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean of rates over seeds with its t interval, as far as a rate can go."""
    found = over_seeds(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def over_episodes(hits: Sequence[bool]) -> Estimate:
    """Return the rate of hits among episodes with its Wilson interval."""
    hits = np.asarray(hits, bool)
    if len(hits) == 0:
        return Estimate(math.nan, 0.0, high=1.0, count=0)
    ends = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(LEVEL, method='wilson')
    return Estimate(float(hits.mean()), float(ends.low), high=float(ends.high), count=len(hits))


def paired_over_seeds(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """Return ``one`` - ``other``, by seed, with the t interval of the differences."""
    return over_seeds(np.asarray(one, np.float64) - np.asarray(other, np.float64))


def paired_over_scenes(one: Sequence[float], other: Sequence[float], seed: int = 0) -> Estimate:
    """Return ``one`` - ``other``, by scene, with the bootstrap interval of the mean."""
    pair = np.asarray(one, np.float64), np.asarray(other, np.float64)
    difference = float(np.mean(pair[0] - pair[1]))
    if np.ptp(pair[0] - pair[1]) == 0:
        return Estimate(difference, difference, high=difference, count=len(pair[0]))
    found = stats.bootstrap(
        pair,
        lambda a, b, axis=-1: np.mean(a - b, axis=axis),
        paired=True,
        confidence_level=LEVEL,
        method='percentile',
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(difference, float(found.low), high=float(found.high), count=len(pair[0]))
