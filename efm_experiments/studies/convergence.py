"""Whether more steps of stage 1 would help the encoders that learn along: one long run of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_experiments.encoders.training import EndToEndConfig
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.studies import ablation
from efm_experiments.studies.ablation import (
    AblationCell,
    available,
    losses_table,
    meanings,
    plot_losses,
    run_cell,
    WORDS,
)
from efm_experiments.table.report import COMMON, plot_bars, success_table, time_table
from matplotlib.figure import Figure

ABOUT = f"""
The encoders of `ablation`, trained along for eight times as many steps (`imagenet`: four), as
policies without practice. One seed is enough here: it says whether a loss
on held-out demonstrations still falls, or has risen again, not how far seeds differ. Every run has
its own one-cycle schedule, so the end of a short run is no point of a long one.

What came of it: no loss gets below that of 2,000 steps by more than a tenth; that of steps-to-go
soon rises, as the demonstrations are learned by heart. The detector gets a little better, success
does not.
{COMMON}"""


@dataclass(frozen=True)
class ConvergenceConfig:
    """Steps of each encoder, and all else."""

    base: AblationCell = field(default_factory=lambda: AblationCell(practice=0, evaluations=200))
    longer: tuple[tuple[str, int], ...] = (('unimodal', 8), ('imagenet', 4), ('scratch', 8))


def cells(config: ConvergenceConfig) -> dict[str, AblationCell]:
    """Return the policy of each encoder, trained for longer."""
    base = config.base
    return {
        f'{encoder} policy': replace(
            base,
            encoder=encoder,
            reward_pretrained=encoder,
            training=stretched(base.training, times),
        )
        for encoder, times in config.longer
        if encoder in available()
    }


def stretched(training: EndToEndConfig, times: int) -> EndToEndConfig:
    """Return the same training for ``times`` as many steps."""
    return replace(
        training,
        iterations=times * training.iterations,
        validate_every=times * training.validate_every,
    )


def summarise(results: Results) -> list[Table]:
    """Return success, losses and costs."""
    return [
        meanings(results),
        success_table(results, 'Success without practice'),
        losses_table(results),
        time_table(results),
    ]


def plot(results: Results) -> dict[str, Figure]:
    """Draw losses and success."""
    return {'losses': plot_losses(results), 'success': plot_bars(results, 'before')}


EXPERIMENT = Experiment(
    name='convergence',
    title='Pretraining: convergence',
    about=ABOUT,
    config=ConvergenceConfig(),
    smoke=ConvergenceConfig(
        AblationCell(**{**WORDS, 'practice': 0, 'training': ablation.SMOKE}),
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
    seeds=1,
)
