"""What the pretrained encoder is worth (Fig. 4): for the reward model, and for the policy."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
import functools
import sys

from efm_core.config import config, parameter
from efm_evaluation.intervals import over_seeds
from efm_experiments.config import Setting, TINY
from efm_experiments.encoders.imagenet import is_installed, MISSING
from efm_experiments.encoders.training import EndToEndConfig, StageOneEndToEnd, train_along
from efm_experiments.encoders.unimodal import USUAL, VisionConfig
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.plots import axes_of, band, COLOURS
from efm_experiments.table.evaluation import before_practice, examine, figures
from efm_experiments.table.practice import practise
from efm_experiments.table.report import (
    against,
    COMMON,
    plot_bars,
    plot_curves,
    success_table,
    time_table,
)
from efm_experiments.table.sft_cache import checkpoint, stage_one, Team, timed
from matplotlib.figure import Figure
import numpy as np

ABOUT = f"""
As in the paper the policy is the best one and the reward model varies; further cells vary the
policy, without practice. Every sentence goes through the same frozen sentence encoder
(all-MiniLM-L6-v2), so text is pretrained in every row. The table says what else is.

All encoders but the frozen one are trained in one loop, for the same number of steps, on the same
demonstrations. `tuned` shows what the loop itself costs: a reward model next to nothing, a policy,
which has a sixth of the usual steps, some 15 points. It differs from the usual stage 1: each
observation counts for both losses, the instruction's loss is left out, the gradient goes through
the current frame only, the encoder means its whole heat map instead of the surroundings of its
maximum (a gradient that sees only these never learns of another block), and what was pretrained
learns at a tenth of the rate. The reward model is the step with the best detector, the policy the
last step, as elsewhere. The paper leaves open how its EfficientNet was conditioned; here all rows
share the text adapter and the heads, and differ in the encoder alone.

**Convergence.** All encoders that are trained along have equal steps and equal data; the figure
shows the losses on held-out demonstrations. The experiment `convergence` goes on for four to eight
times as long, with one seed: no policy gets better by it. 400 demonstrations seem too few to learn
which block a sentence names, and more steps learn them by heart. The frozen encoder has the usual
stage 1, whose steps are cheap and many; the fair comparison is with `tuned`.

What came of it is the order of the paper. By a jointly pretrained reward model practice gets to
the top, tuned along or not; by halves that were never joined it falls short; by ImageNet's,
or by none, a policy that was good ends worse than it began in the mean of the seeds. No policy
without the joint pretraining learns the task from these demonstrations at all.
{COMMON}"""
FROZEN = 'joint'
ALONG = ('tuned', 'unimodal', 'imagenet', 'scratch')
BEST = 'joint reward model'
MEANING = {
    FROZEN: (
        'image encoder and text adapter together: to find in a picture what a sentence names, on '
        f"{USUAL.scenes:,} scenes of this simulator with its positions as labels; the suite's "
        'stand-in for web-scale vision-language pretraining, and not the same',
        'the whole encoder',
    ),
    'tuned': ('as `joint`: the control for the loop that trains the others', 'nothing'),
    'unimodal': (
        'image encoder alone: to find each type of block and the tool on as many scenes, in as '
        'many steps, with no sentence; the query for the tool too. The text adapter begins from '
        'nothing, so both halves are pretrained, but were never joined',
        'nothing',
    ),
    'imagenet': (
        'image encoder alone: EfficientNet-Lite0 on the photographs of ImageNet-1k, its blocks up '
        'to 8 pixels a cell; what follows, and the text adapter, begins from nothing',
        'nothing, but the statistics of batch norms',
    ),
    'scratch': ('nothing', 'nothing'),
}


@config
class AblationCell(Setting):
    """One run of both stages, each model with the encoder of its own."""

    encoder: str = parameter(FROZEN, 'Of the policy', choices=(FROZEN, *ALONG))
    reward_pretrained: str = parameter(FROZEN, 'Of the reward model', choices=(FROZEN, *ALONG))
    training: EndToEndConfig = field(default_factory=EndToEndConfig)


@dataclass(frozen=True)
class AblationConfig:
    """All else."""

    base: AblationCell = field(
        default_factory=lambda: AblationCell(evaluations=200, curve=(80,), curve_evaluations=100)
    )


def cells(config: AblationConfig) -> dict[str, AblationCell]:
    """Return reward models with the best policy, and policies without practice."""
    base = config.base
    encoders = available()
    return {
        BEST: base,
        **{f'{t} reward model': replace(base, reward_pretrained=t) for t in encoders},
        **{
            f'{t} policy': replace(base, encoder=t, reward_pretrained=t, practice=0)
            for t in encoders
        },
    }


@functools.cache
def available() -> tuple[str, ...]:
    """Return the encoders that are trained along; without its packages there is no ImageNet's."""
    if is_installed():
        return ALONG
    print(f'{MISSING}; its cells are left out', file=sys.stderr)
    return tuple(encoder for encoder in ALONG if encoder != 'imagenet')


def run_cell(cell: AblationCell, seed: int) -> dict:
    """Return what the cell's models reach with one seed, and how the trained ones came about."""
    policy, reward = (
        Learned.of(cell, name, seed) for name in (cell.encoder, cell.reward_pretrained)
    )
    team = Team(policy.policy, reward.reward, seconds={})
    seconds = dict(reward.seconds)
    if cell.encoder == FROZEN:
        usual = replace(cell, reward_pretrained=FROZEN)
        found = before_practice(
            usual, Team(policy.policy, policy.reward, seconds={}), seed, seconds
        )
        values = {'reached_before': found['reached_before']}  # what fired is another model's
    else:
        with timed(seconds, 'evaluation'):
            values = figures(examine(cell, team, seed), cell, 'before')
    if cell.practice:
        with timed(seconds, 'practice'):
            team, practised = practise(cell, team, seed)
        values |= practised | figures(examine(cell, team, seed), cell, 'after')
    losses = {f'losses_{name}': column for name, column in reward.losses.items()}
    return values | losses | {f'seconds_{name}': round(s, 1) for name, s in seconds.items()}


@dataclass(frozen=True)
class Learned:
    """Stage 1 with one encoder; ``losses`` at each validation, by name, where it was trained."""

    policy: object
    reward: object
    _: KW_ONLY
    losses: dict[str, list[float]]
    seconds: dict[str, float]

    @classmethod
    def of(cls, cell: AblationCell, encoder: str, seed: int) -> Learned:
        """Return both models, from disk if they are there."""
        if encoder == FROZEN:
            policy, reward, seconds = checkpoint(stage_one(cell, encoder, seed, 0))
            return cls(policy, reward, losses={}, seconds=seconds)
        robot = stage_one(cell, FROZEN, seed, 0).robot
        stage = StageOneEndToEnd(
            encoder,
            cell.demonstrations,
            body=cell.body,
            robot=robot,
            seed=seed,
            training=cell.training,
        )
        made = train_along(stage)
        return cls(made.policy, made.reward, losses=made.curve, seconds=made.seconds)


def summarise(results: Results) -> list[Table]:
    """Return success, paired differences from the joint reward model, losses, and meanings."""
    rewards = [cell for cell in results.cells if cell.endswith('reward model') and cell != BEST]
    rows = [[cell, against(results, cell, BEST).text(100)] for cell in rewards]
    return [
        meanings(results),
        success_table(results, 'Success before and after practice'),
        Table('Minus the joint reward model', ('', 'points'), rows=rows),
        losses_table(results),
        time_table(results),
    ]


def meanings(results: Results) -> Table:
    """Return what was pretrained in each row, and what is frozen in stage 1."""
    found = {cell.split()[0] for cell in results.cells}
    rows = [[encoder, *words] for encoder, words in MEANING.items() if encoder in found]
    return Table(
        "What 'pretrained' means", ('encoder', 'pretrained', 'frozen in stage 1'), rows=rows
    )


def losses_table(results: Results) -> Table:
    """Return the losses on held-out demonstrations at their best and at the last step."""
    rows = []
    for cell in trained(results):
        row = [cell.split()[0]]
        for name, best in (('action', min), ('steps_to_go', min), ('detector_f1', max)):
            runs = results.values(cell, f'losses_validation_{name}')
            found = (over_seeds([pick(run) for run in runs]) for pick in (best, last))
            row += [estimate.text(digits=2) for estimate in found]
        rows.append(row)
    names = ('action [nats]', 'steps-to-go [nats]', 'F1 of d <= s')
    head = ('encoder', *(f'{name}, {word}' for name in names for word in ('best', 'last')))
    return Table('On held-out demonstrations, by validation', head, rows=rows)


def last(values: list[float]) -> float:
    """Return the last one."""
    return values[-1]


def trained(results: Results) -> list[str]:
    """Return one cell for each encoder that was trained along."""
    return [cell for cell in results.cells if cell.endswith(' policy')]


def plot_losses(results: Results) -> Figure:
    """Draw the losses on held-out demonstrations over the optimiser's steps."""
    figure, axes = axes_of(2, 5.0)
    for k, cell in enumerate(trained(results)):
        steps = results.values(cell, 'losses_iteration')[0]
        for one, name in zip(axes, ('action', 'steps_to_go'), strict=True):
            runs = np.array(results.values(cell, f'losses_validation_{name}'))
            band(one, steps, runs, cell.split()[0], COLOURS[k])
            one.set(xlabel='optimiser steps', ylabel=f'{name.replace("_", "-")} loss [nats]')
    axes[0].legend(fontsize=8)
    return figure


def plot(results: Results) -> dict[str, Figure]:
    """Draw curves and ends."""
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
WORDS = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
EXPERIMENT = Experiment(
    name='ablation',
    title='Pretraining',
    about=ABOUT,
    config=AblationConfig(),
    smoke=AblationConfig(AblationCell(**{**WORDS, 'training': SMOKE})),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
