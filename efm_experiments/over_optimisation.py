"""Practice far past the plateau: whether success falls, and what keeps it up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_experiments.experiment import Experiment, Record, Results, Table
from efm_experiments.intervals import over_seeds
from efm_experiments.setting import Setting, TINY
from efm_experiments.table import run_cell
from efm_experiments.table_report import COMMON, plot_curves
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
Five times the practice of the demo. The plain method; the same with an anchor, a KL penalty
towards the policy of stage 1; and with the most pessimistic of three reward models. `own choice`
stops the same run where the robot itself saw the most successes (the share of episodes that its
detector ended, over the {{window}} episodes before a checkpoint): it needs no simulator truth. The
peak is the best checkpoint by the truth, found on the same episodes that it is quoted from, and so
flattered a little.
{COMMON}"""
WINDOW = 64


@dataclass(frozen=True)
class OverOptimisationConfig:
    """Strength of the cures, and all else."""

    anchor: float = 0.02
    ensemble: int = 3
    setting: Setting = field(
        default_factory=lambda: Setting(
            practice=1520, curve=tuple(range(152, 1521, 152)), curve_evaluations=300
        )
    )


def cells(config: OverOptimisationConfig) -> dict[str, Setting]:
    """Return the plain method and its cures."""
    base = config.setting
    return {
        'plain': base,
        'anchored': replace(base, learner='anchored', anchor=config.anchor),
        'pessimistic': replace(base, ensemble=config.ensemble),
    }


def summarise(results: Results) -> list[Table]:
    """Return peak, end, fall, and what the robot would have chosen."""
    rows = []
    for cell in results.cells:
        found = np.array([ends(record) for record in results.of(cell)]).T
        peak, last, chosen = found
        estimates = (peak, last, last - peak, chosen, chosen - peak)
        rows.append([cell, *(over_seeds(values).text(100) for values in estimates)])
    head = ('', 'peak [%]', 'end [%]', 'end - peak', 'own choice [%]', 'own choice - peak')
    return [Table('Success within 40 steps', head, rows)]


def ends(record: Record) -> tuple[float, float, float]:
    """Return the success at the peak, at the end, and at the robot's own choice."""
    curve = record.values['curve_success']
    own = [seen_by_itself(record, done) for done in record.values['curve_episodes']]
    return max(curve), curve[-1], curve[int(np.argmax(own))]


def seen_by_itself(record: Record, done: int) -> float:
    """Return the share of detected successes in the episodes just before a checkpoint."""
    episodes = np.array(record.values['practice_episodes'])
    detected = np.array(record.values['practice_detected'])
    recent = (episodes <= done) & (episodes > done - WINDOW)
    return float(detected[recent].mean()) if recent.any() else 0.0


def plot(results: Results) -> dict[str, Figure]:
    """Draw the curves."""
    return {'learning': plot_curves(results)}


EXPERIMENT = Experiment(
    name='over_optimisation',
    title='Practice past the plateau',
    about=ABOUT.replace('{window}', str(WINDOW)),
    config=OverOptimisationConfig(),
    smoke=OverOptimisationConfig(ensemble=2, setting=TINY),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
