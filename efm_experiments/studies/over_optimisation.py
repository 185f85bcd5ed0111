"""Practice far past the plateau: whether success falls, and what keeps it up."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace

from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_experiments.config import Setting, TINY
from efm_experiments.experiment import Experiment, Record, Results, Table
from efm_experiments.studies import failure_aware
from efm_experiments.studies.failure_aware import Arm, QUICK
from efm_experiments.table import practice
from efm_experiments.table.report import COMMON, LIMIT, plot_curves
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
1,520 episodes of practice, five times what it takes to the plateau. The plain method; the one that
learns from its samples in four clipped passes with a straight line as baseline (`reuse`); an
anchor, which is a KL penalty towards the policy of stage 1; a policy that acts as the moving
average of the one that learns, with one pass, where it goes a tenth of the way at each update, and
with four, where it goes three tenths (tried on one seed that is not reported; 0.15 was slower);
the most pessimistic of three reward models; and a reward model that can say 'not from here' and
learns this from demonstrations and, every {{refresh}} episodes, from the run's own attempts
(`failure_aware` has more on it). Four passes and their average are the suite's default.

`own choice` is the checkpoint after which the robot itself saw the most successes: the share of
the next {{window}} episodes that its detector ended. No simulator truth is in it, and no
checkpoint has learned from the episodes that it is chosen by. Detector and reward are one model,
so what fools the one can fool the other. The peak is looked for at one half of the evaluation
scenes and quoted from the other half, both ways round: quoted from where it was found, the best
of several checkpoints that are equally good would seem better than the last.
{COMMON}"""
WINDOW = 64


@dataclass(frozen=True)
class OverOptimisationConfig:
    """Strength of the cures, and all else."""

    anchor: float = 0.02
    ensemble: int = 3
    _: KW_ONLY
    refreshed: Arm = field(default_factory=lambda: Arm(kind=failure_aware.REFRESHED, refresh=304))
    setting: Setting = field(
        default_factory=lambda: Setting(
            practice=1520 + WINDOW,
            curve=(152, 304, 608, 912, 1216, 1520),
            curve_evaluations=200,
            evaluations=200,
        )
    )


def cells(config: OverOptimisationConfig) -> dict[str, Setting | Arm]:
    """Return the plain method and its cures."""
    base = config.setting
    return {
        'plain': base,
        'four passes, clipped, line': replace(base, learner='clipped_line'),
        'four passes, the average acts': replace(base, learner='clipped_line_averaged'),
        'anchored to stage 1': replace(base, learner='anchored', anchor=config.anchor),
        'the average acts': replace(base, learner='averaged'),
        'pessimistic': replace(base, ensemble=config.ensemble),
        'refreshed': replace(config.refreshed, setting=base),
    }


def run_cell(cell: Setting | Arm, seed: int) -> dict:
    """Return what long practice reaches."""
    study = failure_aware if isinstance(cell, Arm) else practice
    return study.run_cell(cell, seed)


def summarise(results: Results) -> list[Table]:
    """Return peak, end, fall, and what the robot would have chosen."""
    rows = []
    for cell in results.cells:
        peak, last, chosen = np.array([ends(record) for record in results.of(cell)]).T
        reached = [rate_over_seeds(values).text(100) for values in (peak, last, chosen)]
        fall, lost = (over_seeds(values - peak).text(100) for values in (last, chosen))
        rows.append([cell, *reached[:2], fall, reached[2], lost])
    head = ('', 'peak [%]', 'end [%]', 'end - peak', 'own choice [%]', 'own choice - peak')
    return [Table(f'Success within {LIMIT} steps', head, rows=rows)]


def ends(record: Record) -> tuple[float, float, float]:
    """Return the success at the peak, at the last checkpoint, and at the robot's own choice."""
    curve = record.values['curve_success']
    own = [seen_by_itself(record, done) for done in record.values['curve_episodes']]
    return peak(record), curve[-1], curve[int(np.argmax(own))]


def peak(record: Record) -> float:
    """Return the success of the best checkpoint, at other scenes than it is the best at."""
    one, other = np.array(record.values['curve_halves']).T
    return float(np.mean([other[one.argmax()], one[other.argmax()]]))


def seen_by_itself(record: Record, done: int) -> float:
    """Return the share of detected successes in the episodes right after a checkpoint."""
    episodes = np.array(record.values['practice_episodes'])
    detected = np.array(record.values['practice_detected'])
    next_ones = (episodes > done) & (episodes <= done + WINDOW)
    return float(detected[next_ones].mean()) if next_ones.any() else 0.0


def plot(results: Results) -> dict[str, Figure]:
    """Draw the curves."""
    return {'learning': plot_curves(results)}


EXPERIMENT = Experiment(
    name='over_optimisation',
    title='Practice past the plateau',
    about=ABOUT.replace('{window}', str(WINDOW)).replace('{refresh}', '304'),
    config=OverOptimisationConfig(),
    smoke=OverOptimisationConfig(
        ensemble=2, refreshed=replace(QUICK, kind=failure_aware.REFRESHED), setting=TINY
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
