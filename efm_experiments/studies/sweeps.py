"""Hyperparameters of stage 2, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from typing import Any

from efm_experiments.config import ExperimentConfig, TINY, UPDATE
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import COMMON, difference_table, plot_bars, success_table
from efm_trainer.config import PRESETS
from matplotlib.figure import Figure

ABOUT = f"""
The cell `reference` has the values that all experiments share. Every other cell changes one of
them. Cells with equal bins share their stage 1.

| value | reference |
| --- | --- |
| gamma | 0.9 |
| return scale c | 0.1 |
| s, dwell | 2 steps, 2 observations |
| episodes in an update | 8 |
| bins of steps-to-go | 61 |
| levels of each action dimension | 11 |
| temperature | 1 |
| learning rate | 1e-3 |
| epochs | 1 |

The cell `paper` has every value of the preset `paper` as it ships (`efm_trainer/config.py`):
batches of 16 x 64 samples, c 0.05, learning rate 3e-4, weight decay 0.01, no bound on the
gradient norm. Its detector is the reference's. The cell `paper batch, c and rate` has only the
first three of these values. A cell is missing in the tables below until it has run.

The gradient norm is bounded by 1 in all cells but `paper`. The bound makes `return scale` almost
inert: `return scale 0.3` equals the reference in every episode. These cells therefore say nothing
about c without the bound.
{COMMON}"""
REFERENCE = 'reference'
PAPER = {name: getattr(PRESETS['paper'], name) for name in UPDATE}
PARTLY = ('update', 'batch_size', 'updates', 'return_scale', 'learning_rate')


@dataclass(frozen=True)
class SweepsConfig:
    """
    Values to try in place of the reference's, by the field of ``ExperimentConfig``.

    :param base: the reference.
    """

    gamma: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95, 1.0)
    return_scale: tuple[float, ...] = (0.03, 0.3)
    _: KW_ONLY
    learning_rate: tuple[float, ...] = (3e-4, 3e-3)
    success_threshold: tuple[float, ...] = (1.0, 3.0, 5.0)
    success_dwell: tuple[int, ...] = (1, 3)
    episodes_per_update: tuple[int, ...] = (4, 16)
    temperature: tuple[float, ...] = (0.7, 1.3)
    steps_to_go_bins: tuple[int, ...] = (31,)
    action_bins: tuple[int, ...] = (21,)
    base: ExperimentConfig = field(default_factory=lambda: ExperimentConfig(evaluations=200))


def cells(config: SweepsConfig) -> dict[str, ExperimentConfig]:
    """Return the reference, the preset `paper` whole and in part, and every single change."""
    changes: dict[str, dict[str, Any]] = {
        f'{name} {value}'.replace('_', ' '): {name: value}
        for name, values in vars(config).items()
        if name != 'base'
        for value in values
    }
    paper = {'paper': PAPER, 'paper batch, c and rate': {name: PAPER[name] for name in PARTLY}}
    changes = {REFERENCE: {}, **paper, **changes}
    return {cell: replace(config.base, **change) for cell, change in changes.items()}


def summarise(results: Results) -> list[ResultTable]:
    """Return success, and paired differences from the reference."""
    pairs = [(cell, REFERENCE) for cell in results.cells if cell != REFERENCE]
    return [
        success_table(results, 'Success before and after practice'),
        difference_table(results, pairs, 'minus the reference'),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw both measures of every cell."""
    return {'success': plot_bars(results)}


EXPERIMENT = Experiment(
    name='sweeps',
    title='Sweeps',
    about=ABOUT,
    config=SweepsConfig(),
    smoke=SweepsConfig(
        (0.5,),
        (),
        learning_rate=(),
        success_threshold=(),
        success_dwell=(1,),
        episodes_per_update=(),
        temperature=(0.7,),
        steps_to_go_bins=(31,),
        action_bins=(),
        base=replace(TINY, curve=()),
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
