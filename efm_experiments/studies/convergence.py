"""Longer training of the encoders that are not frozen, with one seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_experiments.encoders.training import EndToEndConfig
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.studies import ablation
from efm_experiments.studies.ablation import (
    AblationCell,
    available_encoders,
    losses_table,
    meanings,
    plot_losses,
    run_cell,
    TINY_VALUES,
)
from efm_experiments.table.report import COMMON, plot_bars, success_table, time_table
from matplotlib.figure import Figure

ABOUT = f"""
This experiment trains the encoders of `ablation` for eight times as many steps (`imagenet`: four
times). The cells are policies without practice. One seed is enough to show whether a loss on
held-out demonstrations still falls or rises again; it does not show the spread over seeds. Each
run has its own one-cycle schedule, so that the end of a short run is not a point of a long one.

**Result.** No loss falls below its value at 2,000 steps by more than a tenth. The steps-to-go
loss soon rises, because the model memorises the demonstrations. The detector gets slightly
better. Success does not.
{COMMON}"""


@dataclass(frozen=True)
class ConvergenceConfig:
    """
    The factor by which each encoder is trained longer.

    :param base: configuration that all cells share.
    """

    base: AblationCell = field(default_factory=lambda: AblationCell(practice=0, evaluations=200))
    longer: tuple[tuple[str, int], ...] = (('unimodal', 8), ('imagenet', 4), ('scratch', 8))


def cells(config: ConvergenceConfig) -> dict[str, AblationCell]:
    """Return the policy of each encoder with longer training."""
    base = config.base
    return {
        f'{encoder} policy': replace(
            base,
            pretrained=encoder,
            reward_pretrained=encoder,
            training=lengthened(base.training, factor),
        )
        for encoder, factor in config.longer
        if encoder in available_encoders()
    }


def lengthened(training: EndToEndConfig, factor: int) -> EndToEndConfig:
    """Return the same training with ``factor`` times as many steps."""
    return replace(
        training,
        iterations=factor * training.iterations,
        validate_every=factor * training.validate_every,
    )


def summarise(results: Results) -> list[ResultTable]:
    """Return the encoders, success, losses and processor time."""
    return [
        meanings(results),
        success_table(results, 'Success without practice'),
        losses_table(results),
        time_table(results),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw losses and reached success."""
    return {'losses': plot_losses(results), 'success': plot_bars(results, 'before')}


EXPERIMENT = Experiment(
    name='convergence',
    title='Pretraining: convergence',
    about=ABOUT,
    config=ConvergenceConfig(),
    smoke=ConvergenceConfig(
        AblationCell(**{**TINY_VALUES, 'practice': 0, 'training': ablation.SMOKE}),
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
    seeds=1,
)
