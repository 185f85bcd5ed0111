"""What the pretrained tower is worth (Fig. 4): for the reward model, and for the policy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.setting import Setting, TINY
from efm_experiments.table import run_cell
from efm_experiments.table_report import (
    against,
    COMMON,
    plot_bars,
    plot_curves,
    success_table,
    time_table,
)
from matplotlib.figure import Figure

ABOUT = f"""
`joint`: the image tower and the text adapter were pretrained together to find in a picture what a
sentence names, on random scenes of this simulator with its positions as labels. That stands in for
web-scale pretraining; it is not the same. It is frozen in stage 1. `vision`: only the image tower
is taken from it, the text adapter begins from nothing; the sentence encoder below it is pretrained
on text in every cell; so both halves are pretrained, but never joined. Nothing is frozen.
`scratch`: the tower begins from nothing, nothing is frozen. As in the paper the policy is the best
one and the reward model varies; two more cells vary the policy, without practice. All train for
the same number of steps on the same demonstrations.
{COMMON}"""
BEST = 'joint reward model'


@dataclass(frozen=True)
class AblationConfig:
    """All else."""

    setting: Setting = field(default_factory=lambda: Setting(curve=(40, 80, 160)))


def cells(config: AblationConfig) -> dict[str, Setting]:
    """Return reward models with the best policy, and policies without practice."""
    base = config.setting
    worse = ('vision', 'scratch')
    return {
        BEST: base,
        **{f'{tower} reward model': replace(base, reward_tower=tower) for tower in worse},
        **{f'{t} policy': replace(base, tower=t, reward_tower=t, practice=0) for t in worse},
    }


def summarise(results: Results) -> list[Table]:
    """Return success, and paired differences from the joint reward model."""
    rewards = [cell for cell in results.cells if cell.endswith('reward model') and cell != BEST]
    rows = [[cell, against(results, cell, BEST).text(100)] for cell in rewards]
    return [
        success_table(results, 'Success before and after practice'),
        Table('Minus the joint reward model', ('', 'points'), rows),
        time_table(results),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw curves and ends."""
    return {'learning': plot_curves(results), 'success': plot_bars(results)}


EXPERIMENT = Experiment(
    name='ablation',
    title='Pretraining',
    about=ABOUT,
    config=AblationConfig(),
    smoke=AblationConfig(TINY),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
