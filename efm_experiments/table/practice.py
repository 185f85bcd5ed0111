"""Both stages at the simulated table in one process: what most experiments vary."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from efm_core.episode import Episode, Kind, Termination
from efm_experiments.config import HOME, PRACTICE, SEEDS, Setting, worlds
from efm_experiments.learners.baselines import make_learner
from efm_experiments.table.evaluation import (
    before_practice,
    examine,
    figures,
    players,
    reached_at,
    steps,
    success,
)
from efm_experiments.table.sft_cache import make_team, Team, timed
from efm_sim.rollout import rollout
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from efm_trainer.reinforce import Reinforce
import numpy as np

AfterUpdate = Callable[[Setting, list[Episode], int], Setting]


def unchanged(setting: Setting, episodes: list[Episode], done: int) -> Setting:
    """Go on as before."""
    return setting


def run_cell(setting: Setting, seed: int) -> dict:
    """Return what both stages reach with one seed, and how much of a core each part took [s]."""
    team = make_team(setting, seed)
    seconds = dict(team.seconds)
    values = before_practice(setting, team, seed, seconds)
    if setting.practice:
        with timed(seconds, 'practice'):
            team, practised = practise(setting, team, seed)
        values |= practised | figures(examine(setting, team, seed), setting, 'after')
    return values | {f'seconds_{name}': round(value, 1) for name, value in seconds.items()}


def practise(
    setting: Setting,
    team: Team,
    seed: int,
    after_update: AfterUpdate = unchanged,
    world: TableConfig = HOME,
) -> tuple[Team, dict]:
    """
    Run stage 2 from ``team``, which stays as it is; return the new team and its figures.

    :param after_update: gets the setting, the episodes just learned from and how many there were
        so far; returns the setting to go on with. It may teach the reward model, in place.
    :param world: what the tables are, but for the setting's body.
    """
    team = Team(deepcopy(team.policy), team.reward, seconds=team.seconds)
    learner = make_learner(setting, team.policy, team.reward)
    done = 0
    log = []
    curve = []
    waiting: list[Episode] = []
    while done < setting.practice:
        count = min(setting.episodes_per_update, setting.practice - done)
        waiting += attempts(setting, team, seed, done, count, 1 + len(log), world)
        before, done = done, done + count
        if is_enough(waiting, setting):
            log.append(line(waiting, learner, done))
            setting, waiting = after_update(setting, waiting, done), []
        if any(before < at <= done for at in setting.curve):
            curve.append(point(setting, team, seed, done, world))
    columns = {name: [entry[name] for entry in log] for name in (log[0] if log else ())}
    points = {name: [entry[name] for entry in curve] for name in (curve[0] if curve else ())}
    return team, {f'practice_{k}': v for k, v in columns.items()} | points


def attempts(
    setting: Setting,
    team: Team,
    seed: int,
    done: int,
    count: int,
    version: int,
    world: TableConfig = HOME,
) -> list[Episode]:
    """Return ``count`` episodes of practice; ``done`` came before them."""
    policy, reward_model = players(setting, team, version, setting.temperature)
    tables = worlds(setting.worlds, setting.body, 'train', world)
    first = (PRACTICE + seed * SEEDS) * setting.group + done
    return rollout(
        [Grouped(table, setting.group) for table in tables],
        policy,
        reward_model if setting.ending == 'detector' else None,
        range(first, first + count),
        setting.embodiment,
        Kind.PRACTICE,
        first_index=done,
    )


class Grouped:
    """A table at which ``size`` seeds in a row meet the same scene, but act differently."""

    def __init__(self, table: Table, size: int):
        self._table = table
        self._size = size
        self.step = table.step
        self.render = table.render
        self.success = table.success

    def reset(self, seed: int) -> None:
        """Bring the scene of the seed's group."""
        self._table.reset(seed // self._size)

    @property
    def instruction(self) -> str:
        """What is asked at this scene."""
        return self._table.instruction


def is_enough(episodes: list[Episode], setting: Setting) -> bool:
    """Return whether there is enough for an update."""
    if setting.update == 'samples':
        return sum(map(len, episodes)) >= setting.updates * setting.batch
    return len(episodes) >= setting.episodes_per_update


def line(episodes: list[Episode], learner: Reinforce, done: int) -> dict:
    """Learn from ``episodes``; return what happened, for the log."""
    found = learner.update(episodes)
    return {
        'episodes': done,
        'steps': sum(map(len, episodes)),
        'detected': mean([e.termination is Termination.SUCCESS_DETECTED for e in episodes]),
        'true': mean([e.true_success for e in episodes]),
        'last_steps_to_go': mean([e.steps_to_go[-1] for e in episodes]),
        'entropy': round(found['entropy'], 3),
    }


def point(setting: Setting, team: Team, seed: int, done: int, world: TableConfig = HOME) -> dict:
    """
    Return one point of the true learning curve: success within the limit, steps, and all of it.

    The halves are the success at every other scene, and at those between.
    """
    tables = worlds(setting.worlds, setting.body, setting.split, world)
    episodes = examine(setting, team, seed, setting.curve_evaluations, tables)
    found = [reached_at(episode) for episode in episodes]
    return {
        'curve_episodes': done,
        'curve_success': success(found, setting.limit),
        'curve_halves': [success(found[first::2], setting.limit) for first in (0, 1)],
        'curve_steps': steps(found, setting.limit),
        'curve_reached': found,
    }


def mean(numbers: list) -> float:
    """Return the mean as JSON holds it; NaN counts as nothing."""
    numbers = np.asarray(numbers, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return round(float(numbers.mean()), 4) if len(numbers) else 0.0
