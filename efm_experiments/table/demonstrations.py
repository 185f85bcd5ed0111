"""Demonstrations made in this process, kept on disk in chunks: sets of all sizes share them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.files import whole_file
from efm_core.tokeniser import ActionTokeniser
from efm_experiments.caches import cache, fingerprint, name_of
from efm_experiments.config import DEMONSTRATION, SEEDS, worlds
from efm_sim.rollout import Runner, RunningEpisode, ScriptedActor
from efm_sim.table.config import DemonstratorConfig, TableConfig
from filelock import FileLock
import numpy as np

CHUNK = 100  # successful demonstrations in a file
ATTEMPTS = 10_000  # scenes that belong to a chunk
LONGEST = 60  # steps of a demonstration
ARRAYS = ('stamps', 'tokens', 'actions', 'true_success_per_step')


class Staying(Runner):
    """Goes on with what it does for ``hold`` steps after its goal was reached."""

    def __init__(self, hold: int, *arguments: Any, **words: Any):
        super().__init__(*arguments, **words)
        self._hold = hold

    def _ending(
        self, attempt: RunningEpisode, success: bool
    ) -> tuple[Outcome, Termination] | None:
        if not any(attempt.truth):
            return super()._ending(attempt, success)
        since = len(attempt.truth) - 1 - attempt.truth.index(True)
        return (Outcome.SUCCESS, Termination.STOPPED) if since >= self._hold else None


def demonstrations(
    count: int, seed: int, body: str, embodiment: Embodiment, size: int = CHUNK, hold: int = 0
) -> list[Episode]:
    """
    Return the first ``count`` successful demonstrations of a seed.

    :param hold: steps for which each goes on after its goal was reached.
    """
    chunks = range(-(-count // size))
    size = min(size, count)
    found = [one for k in chunks for one in chunk(k, seed, body, embodiment, size, hold)]
    return found[:count]


def chunk(
    number: int, seed: int, body: str, embodiment: Embodiment, size: int = CHUNK, hold: int = 0
) -> list[Episode]:
    """Return one chunk, from disk if it is there."""
    world = TableConfig(body=body)
    teacher = DemonstratorConfig()
    name = name_of(world, teacher, LONGEST, size, fingerprint('efm_sim'), seed)
    folder = cache() / 'demonstrations' / (f'{name}-{hold}' if hold else name)
    path = folder / f'{number:03}.npz'
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix('.lock')):
        if not path.is_file():
            save(path, collect(number, seed, body, embodiment, size, hold))
        return load(path, embodiment)


def collect(
    number: int, seed: int, body: str, embodiment: Embodiment, size: int, hold: int
) -> list[Episode]:
    """Let the teacher try scene after scene until ``size`` were done; return these."""
    first = DEMONSTRATION + seed * SEEDS + number * ATTEMPTS
    found = []
    tables = worlds(16, body, 'train')
    teacher = ScriptedActor(DemonstratorConfig(), ActionTokeniser(embodiment.action))
    runner = Staying(
        hold,
        embodiment,
        actor=teacher,
        reward_model=None,
        kind=Kind.DEMONSTRATION,
        max_steps=LONGEST,
        on_episode=ignore,
    )
    while len(found) < size:
        step = max(4, round(1.3 * (size - len(found))))
        made = runner.run(tables, range(first, first + step), 0)
        found += [episode for episode in made if episode.outcome is Outcome.SUCCESS]
        first += step
    return found[:size]


def ignore(episode: Episode) -> None:
    """Do nothing."""


def save(path: Path, episodes: list[Episode]) -> None:
    """Write episodes; whole or not at all."""
    with whole_file(path) as unfinished:
        np.savez_compressed(
            unfinished,
            lengths=[len(episode) for episode in episodes],
            seeds=[episode.seed for episode in episodes],
            instructions=np.array([episode.instruction for episode in episodes]),
            observations=np.concatenate([episode.observations for episode in episodes]),
            **{k: np.concatenate([getattr(e, k) for e in episodes]) for k in ARRAYS},
        )


def load(path: Path, embodiment: Embodiment) -> list[Episode]:
    """Return what ``save`` wrote, as demonstrations for ``embodiment``."""
    with np.load(path, allow_pickle=False) as file:
        plain = {name: file[name] for name in file.files}
    lengths = plain['lengths']
    actions = np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])
    frames = np.split(np.arange(lengths.sum() + len(lengths)), np.cumsum(lengths + 1)[:-1])
    return [
        restore(plain, n, rows, seen, embodiment)
        for n, (rows, seen) in enumerate(zip(actions, frames, strict=True))
    ]


def restore(
    plain: dict[str, np.ndarray],
    number: int,
    rows: np.ndarray,
    seen: np.ndarray,
    embodiment: Embodiment,
) -> Episode:
    """Return one episode: ``rows`` of its actions, ``seen`` of its observations."""
    return Episode(
        episode_id=f'demonstration-{plain["seeds"][number]}',
        index=number,
        kind=Kind.DEMONSTRATION,
        instruction=str(plain['instructions'][number]),
        seed=int(plain['seeds'][number]),
        observations=plain['observations'][seen],
        stamps=plain['stamps'][seen],
        tokens=plain['tokens'][rows],
        actions=plain['actions'][rows],
        log_probs=np.zeros(len(rows), np.float32),
        steps_to_go=np.full(len(seen), np.nan, np.float32),
        outcome=Outcome.SUCCESS,
        termination=Termination.STOPPED,
        policy_version=0,
        reward_version=0,
        embodiment_hash=embodiment.hash,
        true_success=bool(plain['true_success_per_step'][seen][-1]),
        true_success_per_step=plain['true_success_per_step'][seen],
    )
