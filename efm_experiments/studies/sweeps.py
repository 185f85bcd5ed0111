"""Hyperparameters of stage 2, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from typing import Any

from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import COMMON, difference, LIMIT, plot_bars, success_table
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

The cell `paper batch, c and rate` has the paper's batch (16 x 64 samples), c 0.05 and learning
rate 3e-4. It is not the preset `paper`, which also has weight decay and no bound on the gradient
norm.

The gradient norm is bounded by 1 in all cells. The bound makes `return scale` almost inert:
`return scale 0.3` equals the reference in every episode.
{COMMON}"""
REFERENCE = 'reference'
PAPER = {
    'update': 'samples',
    'batch_size': 64,
    'updates': 16,
    'return_scale': 0.05,
    'learning_rate': 3e-4,
}


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
    """Return the reference, the paper's batch, c and rate, and every single change."""
    changes: dict[str, dict[str, Any]] = {
        f'{name} {value}'.replace('_', ' '): {name: value}
        for name, values in vars(config).items()
        if name != 'base'
        for value in values
    }
    changes = {REFERENCE: {}, 'paper batch, c and rate': PAPER, **changes}
    return {cell: replace(config.base, **change) for cell, change in changes.items()}


def summarise(results: Results) -> list[ResultTable]:
    """Return success, and paired differences from the reference."""
    rows = [
        [cell, difference(results, cell, REFERENCE).text(100)]
        for cell in results.cells
        if cell != REFERENCE
    ]
    caption = f'Reached success within {LIMIT} steps after practice, minus the reference'
    return [
        success_table(results, 'Success before and after practice'),
        ResultTable(caption, ('cell', 'points'), rows=rows),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw the reached success of every cell."""
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
