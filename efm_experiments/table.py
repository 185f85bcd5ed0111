"""Both stages at the simulated table in one process: what most experiments vary."""

from __future__ import annotations

from copy import deepcopy

from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_experiments.learners import make_learner
from efm_experiments.live import LiveJudge, LivePolicy, LiveRuntime, Sight
from efm_experiments.setting import EVALUATION, PRACTICE, SEEDS, Setting, text_encoder, worlds
from efm_experiments.stage_one import make_team, Team, timed
from efm_sim.rollout import Attempt, PolicyActor, rollout, Runner
from efm_sim.table import Table
from efm_trainer.evaluation import first_detection
from efm_trainer.reinforce import have_same_tower, Reinforce
import numpy as np

LINGER = 6  # observations after the goal was reached, for the detector to notice
NEVER = -1


def run_cell(setting: Setting, seed: int) -> dict:
    """Return what both stages reach with one seed, and how much of a core each part took [s]."""
    team = make_team(setting, seed)
    seconds = dict(team.seconds)
    with timed(seconds, 'evaluation'):
        values = figures(examine(setting, team, seed), setting, 'before')
    if setting.practice:
        with timed(seconds, 'practice'):
            team, practised = practise(setting, team, seed)
        values |= practised | figures(examine(setting, team, seed), setting, 'after')
    return values | {f'seconds_{name}': round(value, 1) for name, value in seconds.items()}


class Examination(Runner):
    """Lets every episode go on a little past its goal: so the detector has time to notice."""

    def _ending(self, attempt: Attempt, success: bool) -> tuple[Outcome, Termination] | None:
        since = len(attempt.truth) - attempt.truth.index(True) if any(attempt.truth) else 0
        if since > LINGER:
            return Outcome.SUCCESS, Termination.STOPPED
        return super()._ending(attempt, success)


def examine(setting: Setting, team: Team, seed: int, count: int = 0) -> list[Episode]:
    """
    Return episodes at the evaluation scenes of a seed, the same for every cell.

    The truth ends them, or the longest of all time limits: success at any limit follows.
    """
    first = EVALUATION + seed * SEEDS
    policy, judge = players(setting, team)
    runner = Examination(
        setting.embodiment,
        PolicyActor(policy),
        judge,
        Kind.EVALUATION,
        setting.longest,
        lambda episode: None,
        detector_ends=False,
    )
    tables = worlds(setting.worlds, setting.body, setting.split)
    return runner.run(tables, range(first, first + (count or setting.evaluations)), 0)


def players(
    setting: Setting, team: Team, version: int = 1, temperature: float = 1.0
) -> tuple[LivePolicy, LiveJudge]:
    """Return policy and judge around the models as they are now."""
    sight = Sight(team.reward)
    own = sight if have_same_tower(team.policy, team.reward) else Sight(team.policy)
    robot, encoder = setting.embodiment, text_encoder()
    return (
        LivePolicy(LiveRuntime(team.policy, own, version), encoder, robot, temperature),
        LiveJudge(LiveRuntime(team.reward, sight), encoder, robot),
    )


def figures(episodes: list[Episode], setting: Setting, word: str) -> dict[str, list[int]]:
    """Return when each episode reached its goal, and when its detector fired; -1 for never."""
    rules = setting.embodiment.episode
    fired = [first_detection(episode, rules) for episode in episodes]
    return {
        f'reached_{word}': [reached_at(episode) for episode in episodes],
        f'fired_{word}': [NEVER if at is None else at for at in fired],
    }


def reached_at(episode: Episode) -> int:
    """Return the steps after which the goal was first reached, or -1."""
    truth = episode.true_success_per_step
    return int(np.argmax(truth)) if truth.any() else NEVER


def practise(setting: Setting, team: Team, seed: int) -> tuple[Team, dict]:
    """Run stage 2 from ``team``, which stays as it is; return the new team and its figures."""
    team = Team(deepcopy(team.policy), team.reward, team.seconds)
    learner = make_learner(setting, team.policy, team.reward)
    done, log, curve = 0, [], []
    waiting: list[Episode] = []
    while done < setting.practice:
        count = min(setting.episodes_per_update, setting.practice - done)
        waiting += attempts(setting, team, seed, done, count, version=1 + len(log))
        before, done = done, done + count
        if is_enough(waiting, setting):
            log.append(line(waiting, learner, done))
            waiting = []
        if setting.curve_every and done // setting.curve_every > before // setting.curve_every:
            curve.append(point(setting, team, seed, done))
    columns = {name: [entry[name] for entry in log] for name in (log[0] if log else ())}
    points = {name: [entry[name] for entry in curve] for name in (curve[0] if curve else ())}
    return team, {f'practice_{k}': v for k, v in columns.items()} | points


def attempts(
    setting: Setting, team: Team, seed: int, done: int, count: int, version: int
) -> list[Episode]:
    """Return ``count`` episodes of practice; ``done`` came before them."""
    policy, judge = players(setting, team, version, setting.temperature)
    tables = worlds(setting.worlds, setting.body, 'train')
    first = (PRACTICE + seed * SEEDS) * setting.group + done
    return rollout(
        [Grouped(table, setting.group) for table in tables],
        policy,
        judge if setting.ending == 'detector' else None,
        range(first, first + count),
        setting.embodiment,
        Kind.PRACTICE,
        first_index=done,
    )


class Grouped:
    """A table at which ``size`` seeds in a row meet the same scene, but act differently."""

    def __init__(self, table: Table, size: int):
        self._table, self._size = table, size
        self.step, self.render, self.success = table.step, table.render, table.success

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


def point(setting: Setting, team: Team, seed: int, done: int) -> dict:
    """Return one point of the true learning curve: success within the limit, and steps."""
    found = [reached_at(e) for e in examine(setting, team, seed, setting.curve_evaluations)]
    return {
        'curve_episodes': done,
        'curve_success': success(found, setting.limit),
        'curve_steps': steps(found, setting.limit),
    }


def mean(numbers: list) -> float:
    """Return the mean as JSON holds it; NaN counts as nothing."""
    numbers = np.asarray(numbers, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return round(float(numbers.mean()), 4) if len(numbers) else 0.0


def success(reached: list[int], limit: int) -> float:
    """Return the share of episodes that reached the goal within ``limit`` steps."""
    reached = np.asarray(reached)
    return float(np.mean((reached != NEVER) & (reached <= limit)))


def steps(reached: list[int], limit: int) -> float:
    """Return the mean steps of an episode that ends at the goal or at ``limit``."""
    reached = np.asarray(reached)
    ends = np.where((reached == NEVER) | (reached > limit), limit, reached)
    return float(ends.mean())
