"""One number of stage 2 at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from typing import Any

from efm_experiments.config import Setting, TINY
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.table.practice import run_cell
from efm_experiments.table.report import against, COMMON, plot_bars, success_table
from matplotlib.figure import Figure

ABOUT = f"""
The numbers that all experiments share (gamma 0.9, c 0.1, s 2 on two observations, 8 episodes an
update, 61 bins of steps-to-go, 11 of each action, temperature 1, learning rate 1e-3; samples teach
once), and one of them changed at a time. Stage 1 is the same for all cells of a seed where its
bins are. The cell `paper` has the paper's batch (16 x 64 samples), c 0.05 and a learning rate of
3e-4.
{COMMON}"""
DEFAULT = 'default'
PAPER = {
    'update': 'samples',
    'batch': 64,
    'updates': 16,
    'return_scale': 0.05,
    'learning_rate': 3e-4,
}


@dataclass(frozen=True)
class SweepsConfig:
    """What is tried in the place of each default."""

    gamma: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95, 1.0)
    return_scale: tuple[float, ...] = (0.03, 0.3)
    _: KW_ONLY
    learning_rate: tuple[float, ...] = (3e-4, 3e-3)
    threshold: tuple[float, ...] = (1.0, 3.0, 5.0)
    dwell: tuple[int, ...] = (1, 3)
    episodes_per_update: tuple[int, ...] = (4, 16)
    temperature: tuple[float, ...] = (0.7, 1.3)
    steps_to_go_bins: tuple[int, ...] = (31,)
    action_bins: tuple[int, ...] = (21,)
    setting: Setting = field(default_factory=lambda: Setting(evaluations=200))


def cells(config: SweepsConfig) -> dict[str, Setting]:
    """Return the default, the paper, and every change."""
    base = config.setting
    changes: dict[str, dict[str, Any]] = {
        f'{name} {value}'.replace('_', ' '): {name: value}
        for name, values in vars(config).items()
        if name != 'setting'
        for value in values
    }
    changes = {DEFAULT: {}, 'paper': PAPER, **changes}
    return {cell: replace(base, **change) for cell, change in changes.items()}


def summarise(results: Results) -> list[Table]:
    """Return success, and paired differences from the default."""
    rows = [
        [cell, against(results, cell, DEFAULT).text(100)]
        for cell in results.cells
        if cell != DEFAULT
    ]
    return [
        success_table(results, 'Success before and after practice'),
        Table('Minus the default, same seeds and scenes', ('', 'points'), rows=rows),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw the success of every cell."""
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
        threshold=(),
        dwell=(1,),
        episodes_per_update=(),
        temperature=(0.7,),
        steps_to_go_bins=(31,),
        action_bins=(),
        setting=replace(TINY, curve=()),
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
