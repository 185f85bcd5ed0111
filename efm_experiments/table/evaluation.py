"""The truth about a policy at scenes of its own: what every figure of the experiments is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, KW_ONLY
import json

from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.episode_rules import first_detection
from efm_core.files import write_whole
from efm_experiments.caches import cache, fingerprint
from efm_experiments.config import EVALUATION, SEEDS, Setting, text_encoder, worlds
from efm_experiments.experiment import digest, SOURCES
from efm_experiments.table.sft_cache import origins, StageOne, Team, timed
from efm_model.torch_runtime import make_runtimes
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.rollout import PolicyActor, Runner, RunningEpisode
from efm_sim.world import World
from filelock import FileLock
import numpy as np

LINGER = 6  # observations after the goal was reached, for the detector to notice
NEVER = -1


@dataclass(frozen=True)
class Sighting:
    """
    What is kept of an episode of evaluation.

    :param steps_to_go: d at every observation, ``(T + 1,)`` float32 [steps].
    :param true_success_per_step: ``(T + 1,)`` bool.
    """

    steps_to_go: np.ndarray
    true_success_per_step: np.ndarray


@dataclass(frozen=True)
class InitialFrames:
    """Everything that fixes how stage 1 does at the evaluation scenes of a seed."""

    origins: tuple[StageOne, ...]
    seed: int
    _: KW_ONLY
    body: str
    split: str
    longest: int
    evaluations: int


def before_practice(
    setting: Setting, team: Team, seed: int, seconds: dict[str, float]
) -> dict[str, list[int]]:
    """Return the figures of stage 1; found on disk where another cell has the same stage 1."""
    names = ('body', 'split', 'longest', 'evaluations')
    look = InitialFrames(origins(setting, seed), seed, **{n: getattr(setting, n) for n in names})
    sources = fingerprint(*SOURCES)
    path = cache() / 'examinations' / f'{digest(look)}-{sources}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix('.lock')):
        if not path.is_file():
            made: dict[str, float] = {}
            with timed(made, 'evaluation'):
                episodes = examine(setting, team, seed)
            plain = [
                [episode.steps_to_go.tolist(), episode.true_success_per_step.tolist()]
                for episode in episodes
            ]
            write_whole(path, json.dumps({**made, 'episodes': plain}))
        found = json.loads(path.read_text())
    seconds['evaluation'] = found['evaluation']
    return figures([Sighting(*map(np.array, one)) for one in found['episodes']], setting, 'before')


class Examination(Runner):
    """Lets every episode go on a little past its goal: so the detector has time to notice."""

    def _ending(
        self, attempt: RunningEpisode, success: bool
    ) -> tuple[Outcome, Termination] | None:
        since = len(attempt.truth) - attempt.truth.index(True) if any(attempt.truth) else 0
        if since > LINGER:
            return Outcome.SUCCESS, Termination.STOPPED
        return super()._ending(attempt, success)


def examine(
    setting: Setting,
    team: Team,
    seed: int,
    count: int = 0,
    tables: Sequence[World] = (),
) -> list[Episode]:
    """
    Return episodes at the evaluation scenes of a seed, the same for every cell.

    The truth ends them, or the longest of all time limits: success at any limit follows.

    :param tables: instead of the setting's own, where something else is asked.
    """
    first = EVALUATION + seed * SEEDS
    policy, reward_model = players(setting, team)
    runner = Examination(
        setting.embodiment,
        PolicyActor(policy),
        reward_model=reward_model,
        kind=Kind.EVALUATION,
        max_steps=setting.longest,
        on_episode=lambda episode: None,
        detector_ends_episode=False,
    )
    tables = tables or worlds(setting.worlds, setting.body, setting.split)
    return runner.run(tables, range(first, first + (count or setting.evaluations)), 0)


def players(
    setting: Setting, team: Team, version: int = 1, temperature: float = 1.0
) -> tuple[Policy, RewardModel]:
    """Return policy and judge around the models as they are now."""
    acting, judging = make_runtimes(team.policy, team.reward, version=version)
    robot = setting.embodiment
    encoder = text_encoder()
    return (
        Policy(acting, encoder, embodiment=robot, temperature=temperature),
        RewardModel(judging, encoder, embodiment=robot),
    )


def figures(episodes: list[Episode], setting: Setting, word: str) -> dict[str, list[int]]:
    """Return when each episode reached its goal, and when its detector fired; -1 for never."""
    rules = setting.embodiment.episode
    fired = [first_detection(episode.steps_to_go, rules) for episode in episodes]
    return {
        f'reached_{word}': [reached_at(episode) for episode in episodes],
        f'fired_{word}': [NEVER if at is None else at for at in fired],
    }


def reached_at(episode: Episode) -> int:
    """Return the steps after which the goal was first reached, or -1."""
    truth = episode.true_success_per_step
    return int(np.argmax(truth)) if truth.any() else NEVER


def steps_left(episode: Episode) -> np.ndarray:
    """Return the true steps to the goal of every observation: infinite if it is not reached."""
    at = reached_at(episode)
    return (at if at >= 0 else np.inf) - np.arange(len(episode) + 1.0)


def success(reached: list[int], limit: int) -> float:
    """Return the share of episodes that reached the goal within ``limit`` steps."""
    reached = np.asarray(reached)
    return float(np.mean((reached != NEVER) & (reached <= limit)))


def steps(reached: list[int], limit: int) -> float:
    """Return the mean steps of an episode that ends at the goal or at ``limit``."""
    reached = np.asarray(reached)
    ends = np.where((reached == NEVER) | (reached > limit), limit, reached)
    return float(ends.mean())
