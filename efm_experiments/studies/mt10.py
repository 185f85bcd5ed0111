"""One language-conditioned policy for ten tasks of Meta-World, improved by its own reward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, KW_ONLY, replace

from efm_evaluation.intervals import (
    Estimate,
    over_episodes,
    over_seeds,
    paired_over_seeds,
    rate_over_seeds,
)
from efm_experiments.experiment import Experiment, Record, Results, ResultTable
from efm_experiments.metaworld.config import (
    CLONING,
    MetaWorldCell,
    NEW_TASK,
    NONE,
    OWN_REWARD,
    SEPARATE,
    SOURCES,
    StageOne,
    TEN,
    TRUE_REWARD,
)
from efm_experiments.metaworld.practice import run_cell
from efm_experiments.plots import axes_of, bars
from matplotlib.figure import Figure
import numpy as np

FROZEN = 'frozen'
LABELLED = 'own reward, 10 labels a task'
MORE_DEMONSTRATIONS = '100 demonstrations a task'
MORE_PRACTICE = '40 % more practice'
NEW_FROM_TEN = 'new task, from the ten tasks'
NEW_FROM_NOTHING = 'new task, from nothing'
NEW = (NEW_FROM_TEN, NEW_FROM_NOTHING)
MEAN = 'mean of the tasks'
PHASES = ('before', 'after')
ABOUT = f"""
One `visuomotor` policy is conditioned on the instruction and learns the ten tasks of Meta-World's
MT10 as one robot: images of 64 px of two cameras, the place of the hand and the opening of the
gripper. Stage 1 has 25 demonstrations of each task. Stage 2 has 100 practice episodes of each
task, interleaved, with one update per 20 episodes. The cells:

- `{OWN_REWARD}`: the paper's reward, the decrease of the robot's own d. Its detector ends the
  episodes.
- `{LABELLED}`: a reward model without proprioception, with a network of its own. It also learns
  from 10 labelled attempts of each task by the policy of stage 1, half of them held out for the
  choice of s and dwell. The simulator stands for the person who labels.
- `{TRUE_REWARD}`: the success of the simulator is the reward of the last action, and ends the
  episode.
  The baseline is linear in d, as with the own reward.
- `{CLONING}`: clones the practice episodes that the detector ended; half of each batch is
  demonstrations. It has as many optimiser steps as the other learners.
- `{FROZEN}`: the policy of stage 1 with other sampling noise, in the same scenes.
- `{MORE_DEMONSTRATIONS}`: cloning alone, with twice the optimiser steps.
- `{MORE_PRACTICE}`: `{OWN_REWARD}` with 140 practice episodes of each task.
- `{NEW_FROM_TEN}`, `{NEW_FROM_NOTHING}`: `{NEW_TASK}`, which is not one of the ten, from 10
  demonstrations and 100 practice episodes. One policy starts with the weights of the ten tasks'
  stage 1, the other with random weights. An update has 10 episodes.

Each task has its own time limit: 95 % of the demonstrator's successes are not longer. *Reached* is
the simulator's success at any observation within the limit. *Self-stopped* is its success at the
observation at which the detector fires; a time-out counts as a failure. The threshold s is one
number for all tasks, which stage 1 proposes from held-out demonstrations. All cells of a seed
share stage 1, the scenes of practice and the evaluation scenes. The number of optimiser steps was
chosen on a seed that is not reported.

Rates have t intervals over seeds, with one seed Wilson's over the scenes. Differences are in
percentage points and paired by seed; with one seed they have no interval.
"""


@dataclass(frozen=True)
class Mt10Config:
    """
    The sizes of all cells.

    :param more: demonstrations of each task in the cell with more of them.
    :param new: both stages on the new task.
    :param labels: labelled attempts of each task.
    """

    base: MetaWorldCell = field(default_factory=MetaWorldCell)
    more: StageOne = field(default_factory=lambda: StageOne(demonstrations=100, iterations=8000))
    _: KW_ONLY
    new: MetaWorldCell = field(
        default_factory=lambda: MetaWorldCell(
            StageOne((NEW_TASK,), 10, iterations=1000), episodes_per_update=10
        )
    )
    labels: int = 10


def cells(config: Mt10Config) -> dict[str, MetaWorldCell]:
    """Return all cells by name."""
    base = config.base
    labelled = replace(base.stage_one, labels=config.labels, reward=SEPARATE)
    from_ten = replace(config.new.stage_one, start=base.stage_one)
    return {
        OWN_REWARD: base,
        TRUE_REWARD: replace(base, method=TRUE_REWARD),
        CLONING: replace(base, method=CLONING),
        FROZEN: replace(base, method=NONE, practice=0),
        MORE_PRACTICE: replace(base, practice=round(1.4 * base.practice)),
        LABELLED: replace(base, stage_one=labelled),
        NEW_FROM_TEN: replace(config.new, stage_one=from_ten),
        NEW_FROM_NOTHING: config.new,
        MORE_DEMONSTRATIONS: replace(base, stage_one=config.more, practice=0),
    }


def phases_of(record: Record) -> tuple[str, ...]:
    """Return the phases that a record has an evaluation of."""
    return tuple(p for p in PHASES if any(f'reached_{p}_' in name for name in record.values))


def tasks_of(record: Record) -> list[str]:
    """Return the tasks of a record."""
    return list(record.config['stage_one']['tasks'])


def hits(record: Record, name: str, phase: str, tasks: Iterable[str]) -> list[bool]:
    """
    Return for each scene of some tasks whether an event happened.

    :param name: ``reached``, ``fired`` or ``right``.
    """
    least = 1 if name == 'right' else 0
    return [at >= least for task in tasks for at in record.values[f'{name}_{phase}_{task}']]


def rate(
    records: Sequence[Record], name: str, phase: str, tasks: Sequence[str], among: str = ''
) -> Estimate:
    """
    Return the rate of an event in some tasks: over seeds, or over the scenes of a single seed.

    :param among: only scenes with this other event count; empty: all.
    """
    seeds = []
    for record in records:
        found = np.array(hits(record, name, phase, tasks))
        seeds.append(found[hits(record, among, phase, tasks)] if among else found)
    if len(seeds) == 1:
        return over_episodes(seeds[0])
    return rate_over_seeds([one.mean() for one in seeds if len(one)])


def rates(records: Sequence[Record], phase: str, tasks: Sequence[str]) -> list[str]:
    """Return reached and self-stopped success, precision and recall, as text."""
    found = (
        rate(records, 'reached', phase, tasks),
        rate(records, 'right', phase, tasks),
        rate(records, 'right', phase, tasks, 'fired'),
        rate(records, 'right', phase, tasks, 'reached'),
    )
    return [one.text(100) for one in found]


def difference(
    one: Sequence[Record], other: Sequence[Record], name: str, phases: Sequence[str]
) -> Estimate:
    """
    Return the mean success of ``one`` minus that of ``other`` over their common seeds.

    :param phases: of the two.
    """
    seeds = {record.seed for record in one} & {record.seed for record in other}
    values = [
        [
            np.mean(hits(record, name, phase, tasks_of(record)))
            for record in records
            if record.seed in seeds
        ]
        for records, phase in zip((one, other), phases, strict=True)
    ]
    return paired_over_seeds(*values)


def summarise(results: Results) -> list[ResultTable]:
    """Return success and the detector, all tasks together and each by itself."""
    ten = [cell for cell in results.cells if cell not in NEW]
    return [
        overview(results, ten, f'{MEAN[0].upper()}{MEAN[1:]}'),
        differences(results, ten),
        per_task(results, ten, 'reached', 'Reached success of each task [%]'),
        per_task(results, ten, 'right', 'Self-stopped success of each task [%]'),
        detector_table(results),
        overview(
            results, [cell for cell in NEW if cell in results.cells], f'New task: {NEW_TASK}'
        ),
        time_table(results),
    ]


def overview(results: Results, names: Sequence[str], caption: str) -> ResultTable:
    """Return success and detector of some cells, over all their tasks."""
    rows = []
    for cell in names:
        records = results.of(cell)
        for phase in phases_of(records[0]):
            rows.append([cell, phase, *rates(records, phase, tasks_of(records[0]))])
    header = ('cell', 'practice', 'reached [%]', 'self-stopped [%]', 'precision [%]', 'recall [%]')
    return ResultTable(caption, header, rows=rows)


def differences(results: Results, names: Sequence[str]) -> ResultTable:
    """Return each cell minus stage 1, and ``OWN_REWARD`` minus each cell."""
    rows = []
    own = results.of(OWN_REWARD)
    for cell in names:
        records = results.of(cell)
        last = phases_of(records[0])[-1]
        gains = [difference(records, own, n, (last, 'before')) for n in ('reached', 'right')]
        compared = [difference(own, records, n, ('after', last)) for n in ('reached', 'right')]
        rows.append([cell, *(one.text(100) for one in (*gains, *compared))])
    minus_cell = f'{OWN_REWARD} minus cell'
    header = (
        'cell',
        'cell minus stage 1, reached',
        'cell minus stage 1, self-stopped',
        f'{minus_cell}, reached',
        f'{minus_cell}, self-stopped',
    )
    return ResultTable('Differences of the means [points]', header, rows=rows)


def per_task(results: Results, names: Sequence[str], name: str, caption: str) -> ResultTable:
    """Return one row for each task, with the last phase of each cell."""
    own = results.of(OWN_REWARD)
    columns = [('stage 1', own, 'before')]
    columns += [(c, results.of(c), phases_of(results.of(c)[0])[-1]) for c in names]
    rows = [
        [
            short(task),
            *(rate(found, name, phase, [task]).text(100, 0) for _, found, phase in columns),
        ]
        for task in tasks_of(own[0])
    ]
    return ResultTable(caption, ('task', *(title for title, _, _ in columns)), rows=rows)


def detector_table(results: Results) -> ResultTable:
    """Return precision and recall of each task in the cells with and without labels."""
    rows = [
        [short(task), cell, phase, *rates(results.of(cell), phase, [task])[2:]]
        for task in tasks_of(results.of(OWN_REWARD)[0])
        for cell in (OWN_REWARD, LABELLED)
        for phase in PHASES
    ]
    header = ('task', 'cell', 'practice', 'precision [%]', 'recall [%]')
    return ResultTable('Success detector of each task', header, rows=rows)


def time_table(results: Results) -> ResultTable:
    """Return the processor time of each part; cells of a seed share what precedes practice."""
    parts = ('demonstrations', 'fine_tuning', 'evaluation_before', 'practice', 'evaluation_after')
    rows = []
    for cell in results.cells:
        found = [
            [record.values.get(f'seconds_{part}', np.nan) for record in results.of(cell)]
            for part in parts
        ]
        rows.append([cell, *(over_seeds(seconds).text(digits=0) for seconds in found)])
    header = ('cell', *(part.replace('_', ' ') for part in parts))
    return ResultTable(
        'Processor time [s]; stage 1 as made, a stored evaluation takes none', header, rows=rows
    )


def short(task: str) -> str:
    """Return the name of a task without its version."""
    return task.removesuffix('-v3')


def plot(results: Results) -> dict[str, Figure]:
    """Draw the self-stopped success of each task before and after practice."""
    figure, axes = axes_of(2)
    figure.set_figheight(5.5)
    records = results.of(OWN_REWARD)
    tasks = tasks_of(records[0])
    for one, phase in zip(axes, PHASES, strict=True):
        bars(one, {short(task): rate(records, 'right', phase, [task]) for task in tasks})
        one.set(title=f'{phase} practice', xlabel='self-stopped [%]', xlim=(0, 109))
    return {'tasks': figure}


TINY_TASKS = TEN[-2:]
TINY = StageOne(TINY_TASKS, 2, iterations=2)
EXPERIMENT = Experiment(
    name='mt10',
    title='Ten tasks with one policy',
    about=ABOUT,
    config=Mt10Config(),
    smoke=Mt10Config(
        MetaWorldCell(TINY, practice=1, evaluations=1, episodes_per_update=2),
        replace(TINY, demonstrations=3),
        new=MetaWorldCell(
            StageOne((NEW_TASK,), 2, iterations=2),
            practice=1,
            evaluations=1,
            episodes_per_update=2,
        ),
        labels=1,
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
    sources=SOURCES,
)
