"""Practice with an object that no demonstration contains (the paper's BananaTable)."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from typing import Any

from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.table.domain_shift import evaluate_in, plot_worlds, quality_table
from efm_experiments.table.evaluation import evaluate_policy, success_values
from efm_experiments.table.practice import practise
from efm_experiments.table.report import (
    COMMON,
    difference,
    gain,
    LIMIT,
    MEASURES,
    plot_curves,
    shown,
    success_table,
    time_table,
)
from efm_experiments.table.sft_cache import make_model_pair, timed
from efm_sim.table.config import TableConfig
from efm_sim.table.scene import BAR_HALF_SIDES
from matplotlib.figure import Figure

ABOUT = f"""
The only object on the table is a long yellow bar ({2000 * BAR_HALF_SIDES[0]:.0f} mm by {
    2000
    * BAR_HALF_SIDES[1]:.0f} mm), which turns when it is pushed at its tip. No demonstration and no
scene of pretraining contains it, nor its name (`the yellow bar`); the word for its colour is
known. The task is to push it to one of nine named places, which are also targets in the
demonstrations.

Practice uses the reward model of stage 1 only, as in the paper. It starts from a policy that has
practised with blocks or, for comparison, from the policy of stage 1. The table also shows what
happens to the success with blocks. The paper (Fig. 3, a real robot, one run) improved from 63 %
to 85 %.
{COMMON}"""
BAR_ALONE = TableConfig(objects='bar')
PRACTISED_POLICY = 'policy practised with blocks'
STAGE_ONE_POLICY = 'policy of stage 1'
PHASES = ('before', 'after', 'before_blocks', 'after_blocks')


@dataclass(frozen=True)
class NewSkillCell:
    """
    One run: practice in ``world`` with ``base.practice`` episodes.

    :param blocks: practice episodes with blocks before.
    """

    base: ExperimentConfig
    world: TableConfig
    _: KW_ONLY
    blocks: int


@dataclass(frozen=True)
class NewSkillConfig:
    """
    Configuration that the cells share.

    :param blocks: practice episodes with blocks of the practised policy.
    """

    blocks: int = 304
    base: ExperimentConfig = field(
        default_factory=lambda: ExperimentConfig(
            evaluations=200, curve=(40, 80, 160), curve_evaluations=100
        )
    )


def cells(config: NewSkillConfig) -> dict[str, NewSkillCell]:
    """Return practice from the practised policy, and from the policy of stage 1."""
    return {
        PRACTISED_POLICY: NewSkillCell(config.base, BAR_ALONE, blocks=config.blocks),
        STAGE_ONE_POLICY: NewSkillCell(config.base, BAR_ALONE, blocks=0),
    }


def run_cell(cell: NewSkillCell, seed: int) -> dict[str, Any]:
    """Return the success values with the bar and with blocks, before and after practice."""
    config = cell.base
    models = make_model_pair(config, seed)
    seconds = dict(models.seconds)
    with_blocks = replace(config, practice=cell.blocks, curve=())
    before = practise(with_blocks, models, seed)[0] if cell.blocks else models
    with timed(seconds, 'evaluation'):
        values = evaluate_in(config, before, seed, cell.world, 'before')
    with timed(seconds, 'practice'):
        after, practised = practise(config, before, seed, domain=cell.world)
    values |= practised | evaluate_in(config, after, seed, cell.world, 'after')
    for phase, pair in (('before', before), ('after', after)):
        episodes = evaluate_policy(config, pair, seed)
        values |= success_values(episodes, config, f'{phase}_blocks')
    return values | {f'seconds_{name}': round(value, 1) for name, value in seconds.items()}


def summarise(results: Results) -> list[ResultTable]:
    """Return success with the bar and with blocks, and the quality of the reward model."""
    return [
        *(overview_table(results, word) for word in MEASURES),
        success_table(results, 'Success with the bar before and after practice'),
        quality_table(results),
        time_table(results),
    ]


def overview_table(results: Results, word: str) -> ResultTable:
    """Return success with the bar and with blocks, and the gain of practice, by one measure."""
    measure = MEASURES[word]
    rows = []
    for cell in results.cells:
        found = [shown(results, cell, phase, measure) for phase in PHASES]
        practised = cell == PRACTISED_POLICY
        other = difference(results, cell, STAGE_ONE_POLICY, measure) if practised else ''
        rows.append([cell, *found, gain(results, cell, measure), other])
    header = (
        'practice starts from',
        'bar, before [%]',
        'bar, after [%]',
        'blocks, before [%]',
        'blocks, after [%]',
        'gain with the bar [points]',
        'after, minus practice from stage 1 [points]',
    )
    caption = f'{word.capitalize()} success within {LIMIT} steps'
    return ResultTable(caption, header, rows=rows)


def plot(results: Results) -> dict[str, Figure]:
    """Draw learning curves with the bar, and the policy's view of it."""
    return {'learning': plot_curves(results), 'worlds': plot_worlds(results)}


EXPERIMENT = Experiment(
    name='new_skill',
    title='A new object',
    about=ABOUT,
    config=NewSkillConfig(),
    smoke=NewSkillConfig(blocks=2, base=replace(TINY, num_worlds=2)),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
