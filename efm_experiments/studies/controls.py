"""Other rewards and other learners at the same number of practice episodes."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace

from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import (
    COMMON,
    difference_table,
    plot_bars,
    plot_curves,
    success_table,
)
from matplotlib.figure import Figure

ABOUT = f"""
The paper compares its stage 2 with cloning only. Here all cells start from the same stage 1 and
practise at the same scenes. They differ in the reward and in the learner:

- `REINFORCE, steps-to-go`: the paper's reward, the decrease of d. The update is not the paper's:
  it has about 225 samples, a gradient norm of at most 1, no weight decay and a learning rate of
  1e-3.
- `REINFORCE, true success`: the simulator's success as the reward of the last action.
- `REINFORCE, detected success`: the success detector's decision as the reward of the last
  action.
- `cloning of detected successes (untuned)`: behaviour cloning of the practice episodes that the
  detector ended, without demonstrations.
- `GRPO, detected success (untuned)`: group-relative advantages over 8 episodes at each scene.
- `PPO, steps-to-go`: the paper's reward with a learned critic.

GRPO and PPO have a clipped objective and four epochs. A sparse success counts 10 steps. No cell
was tuned beyond its learning rate. GRPO has two groups of 8 episodes in an update, and in many
groups all episodes succeed, so that it learns from few of them.

**Result.** By both measures cloning of detected successes and GRPO, as they are here, lose against
the reference. The other cells do not differ from it.
{COMMON}"""
REINFORCE = 'REINFORCE, steps-to-go'


@dataclass(frozen=True)
class ControlsConfig:
    """
    Numbers of GRPO and PPO.

    :param clipped_rate: learning rate of the learners with a clipped objective.
    :param group: practice episodes at each scene with GRPO.
    :param base: configuration that all cells share.
    """

    clipped_rate: float = 3e-4
    group: int = 8
    _: KW_ONLY
    base: ExperimentConfig = field(
        default_factory=lambda: ExperimentConfig(curve=(40, 80, 160), evaluations=200)
    )


def cells(config: ControlsConfig) -> dict[str, ExperimentConfig]:
    """Return one cell for each learner."""
    base = config.base
    clipped = replace(base, learning_rate=config.clipped_rate)
    per_update = 2 * config.group
    grouped = replace(clipped, group_size=config.group, episodes_per_update=per_update)
    return {
        REINFORCE: base,
        'REINFORCE, true success': replace(base, learner='sparse_oracle'),
        'REINFORCE, detected success': replace(base, learner='sparse_detector'),
        'cloning of detected successes (untuned)': replace(base, learner='filtered_cloning'),
        'GRPO, detected success (untuned)': replace(grouped, learner='grpo'),
        'PPO, steps-to-go': replace(clipped, learner='ppo'),
    }


def summarise(results: Results) -> list[ResultTable]:
    """Return success, and paired differences from REINFORCE on steps-to-go."""
    pairs = [(cell, REINFORCE) for cell in results.cells if cell != REINFORCE]
    return [
        success_table(results, 'Success before and after practice'),
        difference_table(results, pairs, f'minus {REINFORCE}'),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw learning curves and success."""
    return {'learning': plot_curves(results), 'success': plot_bars(results)}


EXPERIMENT = Experiment(
    name='controls',
    title='Other rewards and learners',
    about=ABOUT,
    config=ControlsConfig(),
    smoke=ControlsConfig(group=2, base=TINY),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
