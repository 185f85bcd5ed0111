"""An object that was in no demonstration (BananaTable): practised from two policies."""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace

from efm_evaluation.intervals import rate_over_seeds
from efm_experiments.config import Setting, TINY
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.table.domain_shift import look, plot_worlds, quality_table
from efm_experiments.table.evaluation import examine, figures
from efm_experiments.table.practice import practise
from efm_experiments.table.report import (
    against,
    COMMON,
    gain,
    LIMIT,
    plot_curves,
    rates,
    success_table,
    time_table,
)
from efm_experiments.table.sft_cache import make_team, timed
from efm_sim.table.config import TableConfig
from efm_sim.table.scene import BAR_HALF_SIDES
from matplotlib.figure import Figure

ABOUT = f"""
The only thing on the table is a long yellow bar ({2000 * BAR_HALF_SIDES[0]:.0f} by
{2000 * BAR_HALF_SIDES[1]:.0f} mm), which turns instead of moving when it is pushed at its tip. It
was in no demonstration, and in no scene of pretraining; nor was its name (`the yellow
bar`), but the word for its colour was. It is to be pushed to one of nine named places, which
demonstrations with blocks had as targets too. As in the paper, practice sees only d of the reward
model of stage 1, and begins with the policy that has practised with blocks; or, for comparison,
with that of stage 1. What becomes of pushing blocks is measured as well. The paper (Fig. 3, a real
robot, one run) went from 63 to 85 %.
{COMMON}"""
BAR_ALONE = TableConfig(objects='bar')
IMPROVED = 'improved policy'
FROM_STAGE_ONE = 'policy of stage 1'


@dataclass(frozen=True)
class Skill:
    """
    One run: practise in ``world``, with ``setting.practice`` episodes.

    :param blocks: episodes of practice with blocks before.
    """

    setting: Setting
    world: TableConfig
    _: KW_ONLY
    blocks: int


@dataclass(frozen=True)
class NewSkillConfig:
    """Practice with blocks before, and all else."""

    blocks: int = 304
    setting: Setting = field(
        default_factory=lambda: Setting(
            evaluations=200, curve=(40, 80, 160), curve_evaluations=100
        )
    )


def cells(config: NewSkillConfig) -> dict[str, Skill]:
    """Return the paper's way, and practice from the policy of stage 1."""
    return {
        IMPROVED: Skill(config.setting, BAR_ALONE, blocks=config.blocks),
        FROM_STAGE_ONE: Skill(config.setting, BAR_ALONE, blocks=0),
    }


def run_cell(cell: Skill, seed: int) -> dict:
    """Return figures with the new object before and after practice, and with blocks."""
    setting = cell.setting
    team = make_team(cell.setting, seed)
    seconds = dict(team.seconds)
    first = replace(setting, practice=cell.blocks, curve=())
    before = practise(first, team, seed)[0] if cell.blocks else team
    with timed(seconds, 'evaluation'):
        values = look(setting, before, seed, cell.world, 'before')
    with timed(seconds, 'practice'):
        after, practised = practise(setting, before, seed, world=cell.world)
    values |= practised | look(setting, after, seed, cell.world, 'after')
    for word, one in (('before', before), ('after', after)):
        values |= figures(examine(setting, one, seed), setting, f'{word}_blocks')
    return values | {f'seconds_{name}': round(value, 1) for name, value in seconds.items()}


def summarise(results: Results) -> list[Table]:
    """Return success with the new object, what it starts from is worth, and what it costs."""
    rows = [
        [
            cell,
            *(rate_over_seeds(rates(results, cell, word)).text(100) for word in WORDS),
            gain(results, cell).text(100),
            against(results, cell, FROM_STAGE_ONE).text(100) if cell == IMPROVED else '',
        ]
        for cell in results.cells
    ]
    head = (
        'practice began with',
        'before [%]',
        'after [%]',
        'blocks before [%]',
        'blocks after [%]',
        'gain',
        'minus from stage 1',
    )
    return [
        Table(f'The new object: success within {LIMIT} steps', head, rows=rows),
        success_table(results, 'The new object before and after practice'),
        quality_table(results),
        time_table(results),
    ]


WORDS = ('before', 'after', 'before_blocks', 'after_blocks')


def plot(results: Results) -> dict[str, Figure]:
    """Draw success over practice with the new object, and what it looks like."""
    return {'learning': plot_curves(results), 'worlds': plot_worlds(results)}


EXPERIMENT = Experiment(
    name='new_skill',
    title='A new object',
    about=ABOUT,
    config=NewSkillConfig(),
    smoke=NewSkillConfig(blocks=2, setting=replace(TINY, worlds=2)),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
