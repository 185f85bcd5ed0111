"""Pretraining of the reward model's encoder and of the policy's encoder (the paper's Fig. 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, KW_ONLY, replace
import functools
import sys
from typing import Any

from efm_core.config import config, parameter
from efm_evaluation.intervals import over_seeds
from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.encoders.training import EndToEndConfig, EndToEndRecipe, train_end_to_end
from efm_experiments.encoders.unimodal import USUAL, VisionConfig
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.plots import axes_of, band, COLOURS
from efm_experiments.table.evaluation import (
    evaluate_before_practice,
    evaluate_policy,
    success_values,
)
from efm_experiments.table.practice import practise
from efm_experiments.table.report import (
    COMMON,
    difference_table,
    plot_bars,
    plot_curves,
    success_table,
    time_table,
)
from efm_experiments.table.sft_cache import load_or_train, ModelPair, sft_recipe, timed
from efm_model.efficientnet import is_installed, MISSING
from efm_model.network import GroundingModel
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
This experiment varies the pretraining of the reward model's encoder, as figure 4 of the paper
does. The reward model cells practise with the same policy, `joint`. The policy cells vary the
policy's encoder and do not practise. All cells use the same frozen sentence encoder
(all-MiniLM-L6-v2), so that text is pretrained in every cell.

One training loop trains all encoders except the frozen one, with equal steps on equal data. The
cell `tuned` shows the cost of this loop: the reward model loses little; the policy, with a sixth
of the usual steps, loses about 15 points. The loop differs from the usual stage 1 as follows:

- Each observation counts for the action loss and for the steps-to-go loss. The instruction loss
  is left out.
- The gradient goes through the current frame only.
- The encoder averages over its whole heat map, not over a window at its maximum. A gradient
  through the window would never reach another block.
- Pretrained weights have a tenth of the learning rate.

As in the usual stage 1, the reward model is the step with the best detector and the policy is
the last step. The paper does not say how its EfficientNet received the instruction. Here all
cells share the text adapter and the heads, and only the encoder differs.

**Convergence.** The figure shows the losses on held-out demonstrations. The experiment
`convergence` trains four to eight times as long with one seed; no policy gets better. The frozen
encoder has the usual stage 1 with cheap and many steps, so that the fair comparison is with
`tuned`.

**Result.** By reached success the order of the cells is the paper's. With joint pretraining,
frozen or fine-tuned, practice reaches the highest success. With separately pretrained halves it
is lower; the fair difference, `tuned` minus `unimodal`, is within its interval. With ImageNet
pretraining or none, practice lowers the success of a good policy in the mean over seeds. No
policy without joint pretraining learns the task from these demonstrations. The `unimodal`,
`imagenet` and `scratch` detectors hardly ever fire within six steps after the goal, so that the
bounds of their self-stopped success are wide. ImageNet pretraining and none are worse than joint
pretraining at any value within the bounds.
{COMMON}"""
FROZEN = 'joint'
TRAINED = ('tuned', 'unimodal', 'imagenet', 'scratch')
REFERENCE = 'joint reward model'
MEANING = {
    FROZEN: (
        'Image encoder and text adapter jointly: they locate the object that a sentence names, on '
        f'{USUAL.scenes:,} scenes of this simulator with its positions as labels. A stand-in for '
        'web-scale vision-language pretraining, not the same',
        'the whole encoder',
    ),
    'tuned': ('as `joint`; the control for the training loop of the cells below', 'nothing'),
    'unimodal': (
        'Image encoder alone: it locates each block type and the tool on as many scenes and in as '
        'many steps, without sentences; also the query of the tool. The text adapter is newly '
        'initialised. Text and images are both pretrained, but never jointly',
        'nothing',
    ),
    'imagenet': (
        'Image encoder alone: EfficientNet-Lite0 on the photographs of ImageNet-1k, its blocks up '
        'to 8 pixels a cell. All later layers and the text adapter are newly initialised',
        'only the statistics of the batch norms',
    ),
    'scratch': ('nothing', 'nothing'),
}


@config
class AblationCell(ExperimentConfig):
    """One run of both stages; policy and reward model have their own encoders."""

    pretrained: str = parameter(
        FROZEN, 'Pretraining of the policy encoder', choices=(FROZEN, *TRAINED)
    )
    reward_pretrained: str = parameter(
        FROZEN, 'Pretraining of the reward model encoder', choices=(FROZEN, *TRAINED)
    )
    training: EndToEndConfig = field(default_factory=EndToEndConfig)


@dataclass(frozen=True)
class AblationConfig:
    """Configuration that all cells share."""

    base: AblationCell = field(
        default_factory=lambda: AblationCell(evaluations=200, curve=(80,), curve_evaluations=100)
    )


def cells(config: AblationConfig) -> dict[str, AblationCell]:
    """Return the reward model cells with practice, and the policy cells without."""
    base = config.base
    encoders = available_encoders()
    rewards = {f'{e} reward model': replace(base, reward_pretrained=e) for e in encoders}
    policies = {
        f'{e} policy': replace(base, pretrained=e, reward_pretrained=e, practice=0)
        for e in encoders
    }
    return {REFERENCE: base, **rewards, **policies}


@functools.cache
def available_encoders() -> tuple[str, ...]:
    """Return the trained encoders, without ImageNet's if its packages are missing."""
    if is_installed():
        return TRAINED
    print(f'{MISSING}; its cells are left out', file=sys.stderr)
    return tuple(encoder for encoder in TRAINED if encoder != 'imagenet')


def run_cell(cell: AblationCell, seed: int) -> dict[str, Any]:
    """Return the success values of one cell, and the losses of its reward model's training."""
    policy, reward = (
        StageOneModels.of(cell, name, seed) for name in (cell.pretrained, cell.reward_pretrained)
    )
    models = ModelPair(policy.policy, reward.reward, seconds={})
    seconds = dict(reward.seconds)
    values: dict[str, Any] = {}
    if cell.pretrained == cell.reward_pretrained == FROZEN:
        values |= evaluate_before_practice(cell, models, seed, seconds)
    else:
        with timed(seconds, 'evaluation'):
            values |= success_values(evaluate_policy(cell, models, seed), cell, 'before')
    if cell.practice:
        with timed(seconds, 'practice'):
            models, practised = practise(cell, models, seed)
        values |= practised
        values |= success_values(evaluate_policy(cell, models, seed), cell, 'after')
    losses = {f'losses_{name}': column for name, column in reward.losses.items()}
    return values | losses | {f'seconds_{name}': round(s, 1) for name, s in seconds.items()}


@dataclass(frozen=True)
class StageOneModels:
    """
    Policy and reward model of stage 1 with one encoder.

    :param losses: losses at each validation, by name; empty for the frozen encoder.
    :param seconds: processor time of each part [s].
    """

    policy: GroundingModel
    reward: GroundingModel
    _: KW_ONLY
    losses: dict[str, list[float]]
    seconds: dict[str, float]

    @classmethod
    def of(cls, cell: AblationCell, encoder: str, seed: int) -> StageOneModels:
        """Return both models, from disk if they are there."""
        recipe = sft_recipe(cell, FROZEN, seed, 0)
        if encoder == FROZEN:
            policy, reward, seconds = load_or_train(recipe)
            return cls(policy, reward, losses={}, seconds=seconds)
        made = train_end_to_end(
            EndToEndRecipe(
                encoder,
                cell.demonstrations,
                body=cell.body,
                robot=recipe.robot,
                seed=seed,
                training=cell.training,
            )
        )
        return cls(made.policy, made.reward, losses=made.curve, seconds=made.seconds)


def summarise(results: Results) -> list[ResultTable]:
    """Return the encoders, success, paired differences, losses and processor time."""
    return [
        meanings(results),
        success_table(results, 'Success before and after practice'),
        difference_table(results, pairs_of(results), 'paired by seed', 'difference'),
        losses_table(results),
        time_table(results),
    ]


def pairs_of(results: Results) -> list[tuple[str, str]]:
    """Return the fair pair, without freezing, and each reward model with the joint one."""
    rewards = [c for c in results.cells if c.endswith('reward model') and c != REFERENCE]
    return [('tuned reward model', 'unimodal reward model'), *((c, REFERENCE) for c in rewards)]


def meanings(results: Results) -> ResultTable:
    """Return what is pretrained and what is frozen with each encoder."""
    found = {cell.split()[0] for cell in results.cells}
    rows = [[encoder, *words] for encoder, words in MEANING.items() if encoder in found]
    return ResultTable('The encoders', ('encoder', 'pretrained', 'frozen in stage 1'), rows=rows)


def losses_table(results: Results) -> ResultTable:
    """Return the best and the last losses on held-out demonstrations."""
    names: tuple[tuple[str, Callable[[list[float]], float]], ...]
    names = (('action', min), ('steps_to_go', min), ('detector_f1', max))
    rows = []
    for cell in policy_cells(results):
        row = [cell.split()[0]]
        for name, best in names:
            runs = results.values(cell, f'losses_validation_{name}')
            found = (over_seeds([pick(run) for run in runs]) for pick in (best, last))
            row += [estimate.text(digits=2) for estimate in found]
        rows.append(row)
    titles = ('action [nats]', 'steps-to-go [nats]', 'F1 of d <= s')
    header = ('encoder', *(f'{title}, {word}' for title in titles for word in ('best', 'last')))
    return ResultTable('Losses on held-out demonstrations, by validation', header, rows=rows)


def last(values: list[float]) -> float:
    """Return the last value."""
    return values[-1]


def policy_cells(results: Results) -> list[str]:
    """Return the policy cells: one for each trained encoder."""
    return [cell for cell in results.cells if cell.endswith(' policy')]


def plot_losses(results: Results) -> Figure:
    """Draw the losses on held-out demonstrations over the optimiser steps."""
    figure, axes = axes_of(2, 5.0)
    for k, cell in enumerate(policy_cells(results)):
        steps = results.values(cell, 'losses_iteration')[0]
        for one, name in zip(axes, ('action', 'steps_to_go'), strict=True):
            runs = np.array(results.values(cell, f'losses_validation_{name}'))
            band(one, steps, runs, cell.split()[0], COLOURS[k])
            title = f'held-out {name.replace("_", "-")} loss [nats]'
            one.set(xlabel='optimiser steps', ylabel=title)
    axes[0].legend(fontsize=8)
    return figure


def plot(results: Results) -> dict[str, Figure]:
    """Draw learning curves, losses and success."""
    return {
        'learning': plot_curves(results),
        'losses': plot_losses(results),
        'success': plot_bars(results),
        'success_policies': plot_bars(results, 'before'),
    }


SMOKE = EndToEndConfig(
    iterations=2,
    observations=4,
    validate_every=1,
    vision=VisionConfig(scenes=10, iterations=2, batch_size=2),
)
TINY_VALUES = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
EXPERIMENT = Experiment(
    name='ablation',
    title='Pretraining',
    about=ABOUT,
    config=AblationConfig(),
    smoke=AblationConfig(AblationCell(**{**TINY_VALUES, 'training': SMOKE})),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
