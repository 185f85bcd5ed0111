"""What a policy and its reward model do in a world that they were not trained in."""

from __future__ import annotations

from dataclasses import replace

from efm_core.episode import Episode
from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_evaluation.metrics import detect_per_episode
from efm_experiments.config import HOME, Setting, worlds
from efm_experiments.experiment import Results, Table
from efm_experiments.plots import axes_of
from efm_experiments.table.evaluation import examine, figures, steps_left
from efm_experiments.table.report import has_practised
from efm_experiments.table.sft_cache import Team
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table as Tabletop
from matplotlib.figure import Figure
import numpy as np


def look(setting: Setting, team: Team, seed: int, world: TableConfig, word: str) -> dict:
    """
    Return figures of a policy, and how right its reward model is, in ``world``.

    The graphics memory of its tables is free afterwards: many worlds would need too much.
    """
    tables = worlds(setting.worlds, setting.body, setting.split, world)
    episodes = examine(setting, team, seed, tables=tables)
    if world != HOME:
        for table in tables:
            table.close()
    found = detect_per_episode(episodes, setting.embodiment.episode).to_plain()
    return {
        **figures(episodes, setting, word),
        f'precision_{word}': found['precision'],
        f'recall_{word}': found['recall'],
        f'false_{word}': found['false_positives'] / len(episodes),
        f'd_error_{word}': steps_to_go_error(episodes),
    }


def steps_to_go_error(episodes: list[Episode]) -> float | None:
    """Return how wrong d was on average on the way to a goal [steps]; None without any."""
    d = np.concatenate([episode.steps_to_go for episode in episodes])
    left = np.concatenate([steps_left(episode) for episode in episodes])
    on_the_way = np.isfinite(left) & (left >= 0)
    errors = np.abs(d[on_the_way] - left[on_the_way])
    return round(float(errors.mean()), 3) if len(errors) else None


def quality_table(results: Results) -> Table:
    """Return how right the reward model was in every cell, before and after practice."""
    names = ('precision', 'recall', 'false', 'd_error')
    rows = [
        [cell, word, *(known(results, cell, f'{name}_{word}', name) for name in names)]
        for cell in results.cells
        for word in (('before', 'after') if has_practised(results, cell) else ('before',))
    ]
    head = ('', 'practice', 'precision [%]', 'recall [%]', 'false success [%]', 'error of d')
    return Table(
        'The frozen reward model: its detector, and d where a goal was reached', head, rows=rows
    )


def known(results: Results, cell: str, value: str, name: str) -> str:
    """Return the estimate of a value from the seeds where it is defined, as people read it."""
    found = [number for number in results.values(cell, value) if number is not None]
    if not found:
        return 'never'
    return over_seeds(found).text() if name == 'd_error' else rate_over_seeds(found).text(100)


def plot_worlds(results: Results, scene: int = 3) -> Figure:
    """Draw what the policy sees in the world of every cell at one scene, rendered now."""
    seen = {}
    for cell in results.cells:
        config = results.of(cell)[0].config
        world = replace(TableConfig(**config['world']), body=config['setting']['body'])
        seen.setdefault(world, cell)
    figure, axes = axes_of(len(seen), 2.0)
    figure.set_figheight(2.3)
    for (world, cell), one in zip(seen.items(), axes, strict=True):
        table = Tabletop(world)
        table.reset(scene)
        one.imshow(table.render())
        table.close()
        one.set_title(cell, fontsize=8)
        one.set_axis_off()
    return figure
