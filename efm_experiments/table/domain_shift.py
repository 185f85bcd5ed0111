"""Evaluation of a policy and its reward model in a world other than the training world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from efm_core.episode import Episode
from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_evaluation.metrics import detect_per_episode
from efm_experiments.config import ExperimentConfig, make_tables, TRAIN_DOMAIN
from efm_experiments.experiment import Results, ResultTable
from efm_experiments.plots import axes_of
from efm_experiments.table.evaluation import evaluate_policy, success_values, true_steps_to_go
from efm_experiments.table.report import has_practised
from efm_experiments.table.sft_cache import ModelPair
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from matplotlib.figure import Figure
import numpy as np


def evaluate_in(
    config: ExperimentConfig, models: ModelPair, seed: int, domain: TableConfig, phase: str
) -> dict[str, Any]:
    """
    Return the success values of a policy and the errors of its reward model in ``domain``.

    The graphics memory of other worlds than the training world is released afterwards.

    :param phase: suffix of the value names.
    """
    tables = make_tables(config.num_worlds, config.body, config.split, domain)
    episodes = evaluate_policy(config, models, seed, tables=tables)
    if domain != TRAIN_DOMAIN:
        for table in tables:
            table.close()
    found = detect_per_episode(episodes, config.embodiment.episode)
    plain = found.to_plain()
    return {
        **success_values(episodes, config, phase),
        f'precision_{phase}': plain['precision'],
        f'recall_{phase}': plain['recall'],
        f'false_{phase}': plain['false_positives'] / len(episodes),
        f'd_error_{phase}': steps_to_go_error(episodes),
    }


def steps_to_go_error(episodes: Sequence[Episode]) -> float | None:
    """Return the mean absolute error of d on the way to reached goals [steps], or None."""
    d = np.concatenate([episode.steps_to_go for episode in episodes])
    left = np.concatenate([true_steps_to_go(episode) for episode in episodes])
    on_the_way = np.isfinite(left) & (left >= 0)
    errors = np.abs(d[on_the_way] - left[on_the_way])
    return round(float(errors.mean()), 3) if len(errors) else None


def quality_table(results: Results) -> ResultTable:
    """Return the quality of the detector and of d in every cell, before and after practice."""
    names = ('precision', 'recall', 'false', 'd_error')
    rows = [
        [cell, phase, *(defined_text(results, cell, f'{name}_{phase}', name) for name in names)]
        for cell in results.cells
        for phase in (('before', 'after') if has_practised(results, cell) else ('before',))
    ]
    header = (
        'cell',
        'practice',
        'precision [%]',
        'recall [%]',
        'false success [% of all]',
        'error of d [steps]',
    )
    caption = 'The frozen reward model: detector per episode, and d on the way to reached goals'
    return ResultTable(caption, header, rows=rows)


def defined_text(results: Results, cell: str, value: str, name: str) -> str:
    """Return the estimate of a value over the seeds in which it is defined, as text."""
    found = [number for number in results.values(cell, value) if number is not None]
    if not found:
        return 'undefined'
    return over_seeds(found).text() if name == 'd_error' else rate_over_seeds(found).text(100)


def plot_worlds(results: Results, scene: int = 3) -> Figure:
    """Draw the policy's view of one scene in the world of every cell; it is rendered now."""
    seen: dict[TableConfig, str] = {}
    for cell in results.cells:
        config = results.of(cell)[0].config
        world = replace(TableConfig(**config['world']), body=config['base']['body'])
        seen.setdefault(world, cell)
    figure, axes = axes_of(len(seen), 2.0)
    figure.set_figheight(2.3)
    for (world, cell), one in zip(seen.items(), axes, strict=True):
        table = Table(world)
        table.reset(scene)
        one.imshow(table.render())
        table.close()
        one.set_title(cell, fontsize=8)
        one.set_axis_off()
    return figure
