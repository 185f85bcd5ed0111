"""Other rewards and other learners, at the same number of episodes as the paper's."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace

from efm_experiments.config import Setting, TINY
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import (
    against,
    COMMON,
    plot_bars,
    plot_curves,
    success_table,
)
from matplotlib.figure import Figure

ABOUT = f"""
The paper compares its stage 2 with cloning only. Here everything starts from the same stage 1 and
meets the same practice scenes, and differs in what is learned from the episodes: the decrease of
steps-to-go by REINFORCE (the paper's), the true success or the learned detector once at the end,
cloning of those own episodes that the detector ended, group-relative advantages (8 attempts at
each scene) and PPO with a learned critic on the paper's reward, both with clipping and four
passes. The sparse reward is worth 10 steps. No control was tuned beyond its learning rate.
{COMMON}"""
PAPER = "the paper's"


@dataclass(frozen=True)
class ControlsConfig:
    """Numbers of the clipped learners, and all else."""

    clipped_rate: float = 3e-4
    group: int = 8
    _: KW_ONLY
    setting: Setting = field(default_factory=lambda: Setting(curve=(40, 80, 160), evaluations=200))


def cells(config: ControlsConfig) -> dict[str, Setting]:
    """Return one cell for each learner."""
    base = config.setting
    clipped = replace(base, learning_rate=config.clipped_rate)
    per_update = 2 * config.group
    grouped = replace(clipped, group=config.group, episodes_per_update=per_update)
    return {
        PAPER: base,
        'true success, sparse': replace(base, learner='sparse_truth'),
        'own detector, sparse': replace(base, learner='sparse_detector'),
        'cloning of own successes': replace(base, learner='filtered_cloning'),
        'GRPO, own detector': replace(grouped, learner='grpo'),
        'PPO, steps-to-go': replace(clipped, learner='ppo'),
    }


def summarise(results: Results) -> list[Table]:
    """Return success, and paired differences from the paper's way."""
    rows = [
        [cell, against(results, cell, PAPER).text(100)] for cell in results.cells if cell != PAPER
    ]
    return [
        success_table(results, 'Success before and after practice'),
        Table('Minus the paper, same seeds and scenes', ('', 'points'), rows=rows),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw curves and ends."""
    return {'learning': plot_curves(results), 'success': plot_bars(results)}


EXPERIMENT = Experiment(
    name='controls',
    title='Controls at the same budget',
    about=ABOUT,
    config=ControlsConfig(),
    smoke=ControlsConfig(group=2, setting=TINY),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
