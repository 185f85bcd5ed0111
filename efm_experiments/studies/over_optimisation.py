"""Practice far beyond the plateau, and what keeps success steady."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from typing import Any

from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.experiment import Experiment, Record, Results, ResultTable
from efm_experiments.studies import failure_aware
from efm_experiments.studies.failure_aware import FailureAwareConfig, QUICK
from efm_experiments.table import practice
from efm_experiments.table.report import (
    COMMON,
    curve_rates,
    LIMIT,
    Measure,
    percent,
    plot_curves,
    reached_rate,
    shown,
    stopped_rate,
)
from matplotlib.figure import Figure
import numpy as np

LATE = 3  # evaluations at the end of practice whose mean is reported
WINDOW = 64  # practice episodes after a checkpoint that decide the own choice
ABOUT = f"""
Practice continues for 1,584 episodes, five times as long as to the plateau. The policy is
evaluated at checkpoints up to 1,520 episodes, and once more at the end. The cells:

- `one epoch`: REINFORCE on steps-to-go, each sample once.
- `four epochs, linear baseline`: four clipped epochs and a linear baseline (see `reuse`).
- `four epochs, linear baseline, EMA`: the same with a deployed policy that is an exponential
  moving average (rate 0.3) of the trained policy. This is the suite's default. The rate was
  tried on one unreported seed, where 0.15 was slower.
- `one epoch, KL penalty`: with a penalty on KL(policy, policy of stage 1).
- `one epoch, EMA`: with a moving average (rate 0.1) as the deployed policy.
- `one epoch, reward ensemble`: three reward models, of which the largest d counts.
- `one epoch, retrained reward`: the failure-aware reward model (see `failure_aware`), retrained
  every {{retrain_every}} episodes on demonstrations and on its own practice episodes.

**Own choice** is the checkpoint before the {WINDOW} episodes with the highest rate of detected
success. It needs no simulator, and no checkpoint has learned from the episodes that decide on
it. Detector and reward are one model, so that an error of one can mislead the other.

**Peak** is the success of the best checkpoint. It is selected on one half of the evaluation
scenes and reported on the other half, both ways round. A peak that is selected and reported on
the same scenes would exceed the last checkpoint by chance.

**Late** is the mean of the last {LATE} evaluations: those after 1,216, 1,520 and 1,584 episodes.
A single one scatters: after 1,520 episodes `one epoch, KL penalty` reached 98.8 %, after 1,584
96.1 %.

**Result.** The shipped learner (`four epochs, linear baseline, EMA`) holds its peak, and so does
`one epoch, EMA`. The retrained reward model loses half of the successes. The other cells lose
one to four points of reached success, `one epoch` beyond its interval. By self-stopped success
after all practice no cell with a fixed reward model differs from `one epoch` by more than the
intervals.
{COMMON}"""


@dataclass(frozen=True)
class OverOptimisationConfig:
    """
    Strength of the regularisers.

    :param kl_weight: weight of the KL penalty.
    :param ensemble: reward models of the ensemble.
    :param retrained: the retrained failure-aware reward model.
    :param base: configuration that all cells share.
    """

    kl_weight: float = 0.02
    ensemble: int = 3
    _: KW_ONLY
    retrained: FailureAwareConfig = field(
        default_factory=lambda: FailureAwareConfig(kind=failure_aware.RETRAINED, retrain_every=304)
    )
    base: ExperimentConfig = field(
        default_factory=lambda: ExperimentConfig(
            practice=1520 + WINDOW,
            curve=(152, 304, 608, 912, 1216, 1520),
            curve_evaluations=200,
            evaluations=200,
        )
    )


def cells(config: OverOptimisationConfig) -> dict[str, ExperimentConfig | FailureAwareConfig]:
    """Return REINFORCE with one epoch, and every regulariser."""
    base = config.base
    return {
        'one epoch': base,
        'four epochs, linear baseline': replace(base, learner='clipped_linear'),
        'four epochs, linear baseline, EMA': replace(base, learner='clipped_linear_ema'),
        'one epoch, KL penalty': replace(
            base, learner='kl_regularised', kl_weight=config.kl_weight
        ),
        'one epoch, EMA': replace(base, learner='ema'),
        'one epoch, reward ensemble': replace(base, ensemble_size=config.ensemble),
        'one epoch, retrained reward': replace(config.retrained, base=base),
    }


def run_cell(cell: ExperimentConfig | FailureAwareConfig, seed: int) -> dict[str, Any]:
    """Return the values of long practice."""
    if isinstance(cell, FailureAwareConfig):
        return failure_aware.run_cell(cell, seed)
    return practice.run_cell(cell, seed)


def summarise(results: Results) -> list[ResultTable]:
    """Return self-stopped success, then peak, late and own choice by reached success."""
    rows = []
    for cell in results.cells:
        peak, late, chosen = np.array([checkpoints(record) for record in results.of(cell)]).T
        reached = [rate_over_seeds(values).text(100) for values in (peak, late, chosen)]
        fall, lost = (over_seeds(values - peak).text(100) for values in (late, chosen))
        end = shown(results, cell, 'after', stopped_rate)
        means = [late_mean(record) for record in results.of(cell)]
        stopped = percent([mean for mean in means if mean is not None])
        rows.append([cell, end, stopped, *reached[:2], fall, reached[2], lost])
    header = (
        'cell',
        'end of practice, self-stopped [%]',
        'late, self-stopped [%]',
        'peak, reached [%]',
        'late, reached [%]',
        'late minus peak, reached [points]',
        'own choice, reached [%]',
        'own choice minus peak, reached [points]',
    )
    return [ResultTable(f'Success within {LIMIT} steps', header, rows=rows)]


def checkpoints(record: Record) -> tuple[float, float, float]:
    """Return reached success at the peak, late, and at the own choice."""
    curve = record.values['curve_success']
    own = [detected_after(record, done) for done in record.values['curve_episodes']]
    late = late_mean(record, reached_rate)
    assert late is not None  # every record holds where its goals were reached
    return peak(record), late, curve[int(np.argmax(own))]


def late_mean(record: Record, measure: Measure = stopped_rate) -> float | None:
    """Return the mean success of the last ``LATE`` evaluations; None if one is not stored."""
    end = measure(record.values, 'after', LIMIT)
    curve = curve_rates(record, measure)
    if end is None or not curve:
        return None
    return float(np.mean([*curve, end][-LATE:]))


def peak(record: Record) -> float:
    """Return the success of the best checkpoint, at other scenes than those that selected it."""
    one, other = np.array(record.values['curve_halves']).T
    return float(np.mean([other[one.argmax()], one[other.argmax()]]))


def detected_after(record: Record, done: int) -> float:
    """Return the rate of detected success in the episodes after a checkpoint."""
    episodes = np.array(record.values['practice_episodes'])
    detected = np.array(record.values['practice_detected'])
    next_ones = (episodes > done) & (episodes <= done + WINDOW)
    return float(detected[next_ones].mean()) if next_ones.any() else 0.0


def plot(results: Results) -> dict[str, Figure]:
    """Draw the learning curves."""
    return {'learning': plot_curves(results)}


EXPERIMENT = Experiment(
    name='over_optimisation',
    title='Practice past the plateau',
    about=ABOUT.replace('{retrain_every}', '304'),
    config=OverOptimisationConfig(),
    smoke=OverOptimisationConfig(
        ensemble=2, retrained=replace(QUICK, kind=failure_aware.RETRAINED), base=TINY
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
