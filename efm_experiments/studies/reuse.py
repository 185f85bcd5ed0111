"""Sample reuse: how many practice episodes it saves (the paper uses each sample once)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import math

from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.learners.sample_reuse import REPLAY_CONFIGS
from efm_experiments.table.evaluation import success_rate
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import (
    COMMON,
    curve_rates,
    LIMIT,
    Measure,
    MEASURES,
    NOT_STORED,
    percent,
    plot_bars,
    plot_curves,
    points,
    rates,
    reached_rate,
    success_table,
    whole_curve,
)
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import ArrayLike

REFERENCE = 'one epoch'
TUNING_SEEDS = (100, 101)
STORED = REPLAY_CONFIGS['replay'].memory
MAX_WEIGHT = REPLAY_CONFIGS['replay'].max_weight
CLIP_RANGE = REPLAY_CONFIGS['clipped_critic'].clip_range
ABOUT = f"""
The paper uses each sample once. With 8 episodes in an update this is one optimiser step on about
225 samples. All cells have the paper's reward and returns. The update of `{REFERENCE}` is not
the paper's: gradient norm at most 1, no weight decay, learning rate 1e-3.

- `one epoch, small batches`: more optimiser steps without reuse, because a saving may come from
  steps as well as from samples.
- `replay of older episodes`: one epoch over the episodes of the last {STORED} updates.
  Importance weights p / p(deployed policy) are truncated at {MAX_WEIGHT:g}.
- `four epochs, clipped`: four epochs over each batch, with PPO's clip range {CLIP_RANGE:g}.
- `four epochs, linear baseline`: the same minus a line through returns over d(o). The line
  removes the noise of d(o), with which every return begins.
- `four epochs, critic`: the same with a small critic of the observation as the baseline.

The question is whether a cell reaches with half of the episodes what one epoch reaches at the
end. Six runs on seed {TUNING_SEEDS[0]} chose epochs, memory and linear baseline; some were
repeated on seed {TUNING_SEEDS[1]}. Their time limit was 40 steps. Neither seed is reported here.
Clip range and largest weight are usual values. The critic was not tried before.

**Result.** With the linear baseline, four epochs need a quarter of the episodes in the mean; the
interval is open. The gain is in the number of episodes and in speed. At the end no cell has more
reached or self-stopped success than one epoch.
{COMMON}"""
RESAMPLES = 2000


@dataclass(frozen=True)
class ReuseConfig:
    """
    Sizes of the batches.

    :param small_batch: samples in an optimiser step of the cell with small batches.
    :param base: configuration that all cells share.
    """

    small_batch: int = 64
    base: ExperimentConfig = field(default_factory=lambda: ExperimentConfig(curve=(40, 80, 152)))


def first_reached(done: Sequence[float], curve: ArrayLike, target: float) -> float:
    """
    Return the episodes at which a curve first reaches ``target``; infinity if never.

    :param done: episodes of each point.
    :param curve: success at each point, ``(points,)``; linear in between.
    """
    success = np.asarray(curve)
    above = np.flatnonzero(success >= target)
    if len(above) == 0:
        return math.inf
    k = int(above[0])
    if k == 0:
        return float(done[0])
    share = (target - success[k - 1]) / (success[k] - success[k - 1])
    return float(done[k - 1] + share * (done[k] - done[k - 1]))


def episodes_needed(
    done: Sequence[float], runs: ArrayLike, targets: ArrayLike
) -> tuple[float, float, float]:
    """
    Return the episodes until the mean over seeds reaches the mean target, with a 95 % interval.

    The interval comes from a bootstrap over seeds, each with its own target. An end is infinite if
    the target is not reached.

    :param runs: success, ``(seeds, points)``.
    :param targets: ``(seeds,)``.
    """
    curves = np.asarray(runs)
    goals = np.asarray(targets)
    random = np.random.default_rng(0)
    found = np.array(
        [
            first_reached(done, curves[chosen].mean(axis=0), goals[chosen].mean())
            for chosen in random.integers(0, len(curves), (RESAMPLES, len(curves)))
        ]
    )
    low, high = np.percentile(found, (2.5, 97.5), method='nearest')
    return first_reached(done, curves.mean(axis=0), goals.mean()), low, high


def cells(config: ReuseConfig) -> dict[str, ExperimentConfig]:
    """Return REINFORCE with one epoch, small batches, and every kind of reuse."""
    base = config.base
    return {
        REFERENCE: base,
        'one epoch, small batches': replace(base, batch_size=config.small_batch),
        'replay of older episodes': replace(base, learner='replay'),
        'four epochs, clipped': replace(base, learner='clipped'),
        'four epochs, linear baseline': replace(base, learner='clipped_linear'),
        'four epochs, critic': replace(base, learner='clipped_critic'),
    }


def summarise(results: Results) -> list[ResultTable]:
    """Return the episodes needed, the comparison at half of the episodes, and success."""
    return [
        needed_table(results),
        half_table(results),
        success_table(results, 'Success before and after practice'),
    ]


def needed_table(results: Results) -> ResultTable:
    """Return the episodes that each cell needs for the final success of one epoch."""
    rows = [
        [cell, *(needed(results, cell, measure) for measure in MEASURES.values())]
        for cell in results.cells
    ]
    caption = (
        f'Practice episodes until the success of `{REFERENCE}` after '
        f'{practised(results)} episodes (within {LIMIT} steps)'
    )
    header = ('cell', *(f'by {word} success [episodes]' for word in MEASURES))
    return ResultTable(caption, header, rows=rows)


def needed(results: Results, cell: str, measure: Measure) -> str:
    """Return the episodes that a cell needs by one measure, as text."""
    done, runs = whole_curve(results, cell, measure)
    if not runs:
        return NOT_STORED
    found = episodes_needed(done, runs, rates(results, REFERENCE, 'after', measure))
    mean, low, high = (episodes_text(value, done[-1]) for value in found)
    return mean if len(runs) == 1 else f'{mean} [{low}, {high}]'


def episodes_text(episodes: float, last: int) -> str:
    """Return a number of episodes as text."""
    return f'{episodes:.0f}' if math.isfinite(episodes) else f'more than {last}'


def half_table(results: Results) -> ResultTable:
    """Return success at half of the episodes, minus that of one epoch at half and at the end."""
    rows = []
    for cell in results.cells:
        stopped, found = (at_half(results, cell, measure) for measure in MEASURES.values())
        same = points(found, at_half(results, REFERENCE, reached_rate))
        rows.append([cell, percent(stopped), percent(found), same, points(found, at_end(results))])
    half = half_episodes(results)
    header = (
        'cell',
        f'self-stopped after {half} episodes [%]',
        f'reached after {half} episodes [%]',
        f'reached, minus {REFERENCE} after {half} [points]',
        f'reached, minus {REFERENCE} after {practised(results)} [points]',
    )
    caption = f'Success within {LIMIT} steps at half of the episodes'
    return ResultTable(caption, header, rows=rows)


def half_episodes(results: Results) -> int:
    """Return the episodes at the last checkpoint within half of the practice."""
    done = results.values(REFERENCE, 'curve_episodes')[0]
    return max(episodes for episodes in done if episodes <= practised(results) / 2)


def at_half(results: Results, cell: str, measure: Measure) -> list[float]:
    """Return the success of each seed at half of the practice; empty if it is not stored."""
    point = results.values(cell, 'curve_episodes')[0].index(half_episodes(results))
    curves = [curve_rates(record, measure) for record in results.of(cell)]
    return [curve[point] for curve in curves if curve]


def at_end(results: Results) -> list[float]:
    """Return the final success of one epoch at the scenes of the learning curves."""
    records = results.of(REFERENCE)
    return [
        success_rate(record.values['reached_after'][: record.config['curve_evaluations']], LIMIT)
        for record in records
    ]


def practised(results: Results) -> int:
    """Return the number of practice episodes."""
    return results.of(REFERENCE)[0].config['practice']


def plot(results: Results) -> dict[str, Figure]:
    """Draw learning curves and success."""
    return {'learning': plot_curves(results), 'success': plot_bars(results)}


EXPERIMENT = Experiment(
    name='reuse',
    title='Sample reuse',
    about=ABOUT,
    config=ReuseConfig(),
    smoke=ReuseConfig(base=TINY),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
