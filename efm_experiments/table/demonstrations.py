"""Simulated demonstrations, cached on disk in chunks, so that sets of all sizes share them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.files import whole_file
from efm_core.observation import Observation
from efm_core.tokeniser import ActionTokeniser
from efm_experiments.caches import cache, fingerprint, name_of
from efm_experiments.config import DEMONSTRATION_SCENES, make_tables, SCENES_PER_SEED
from efm_sim.rollout import Runner, RunningEpisode, ScriptedActor
from efm_sim.table.config import DemonstratorConfig, TableConfig
from filelock import FileLock
import numpy as np

CHUNK = 100  # successful demonstrations in a file
SCENES_PER_CHUNK = 10_000
MAX_STEPS = 60  # time limit of a demonstration [steps]


class GoalDwellRunner(Runner):
    """Continues each episode for ``hold`` steps after its goal was reached."""

    def __init__(self, hold: int, *arguments: Any, **options: Any):
        """
        Configure the runner.

        :param hold: further steps after the goal; all other arguments as ``Runner``.
        """
        super().__init__(*arguments, **options)
        self._hold = hold

    def _ending(
        self, episode: RunningEpisode, success: bool
    ) -> tuple[Outcome, Termination] | None:
        """Return how the episode ends now, or None if it continues."""
        if not any(episode.truth):
            return super()._ending(episode, success)
        since = len(episode.truth) - 1 - episode.truth.index(True)
        return (Outcome.SUCCESS, Termination.STOPPED) if since >= self._hold else None


def demonstrations(
    count: int, seed: int, body: str, embodiment: Embodiment, size: int = CHUNK, hold: int = 0
) -> list[Episode]:
    """
    Return the first ``count`` successful demonstrations of a seed.

    :param size: demonstrations in a file.
    :param hold: steps for which each demonstration continues after its goal was reached.
    """
    chunks = range(-(-count // size))
    size = min(size, count)
    found = [one for k in chunks for one in load_or_collect(k, seed, body, embodiment, size, hold)]
    return found[:count]


def load_or_collect(
    number: int, seed: int, body: str, embodiment: Embodiment, size: int = CHUNK, hold: int = 0
) -> list[Episode]:
    """Return chunk ``number``, from disk if it is there; arguments as ``demonstrations``."""
    world = TableConfig(body=body)
    demonstrator = DemonstratorConfig()
    name = name_of(world, demonstrator, MAX_STEPS, size, fingerprint('efm_sim'), seed)
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
    """Run the scripted demonstrator scene by scene; return the first ``size`` successes."""
    first = DEMONSTRATION_SCENES + seed * SCENES_PER_SEED + number * SCENES_PER_CHUNK
    found: list[Episode] = []
    tables = make_tables(16, body, 'train')
    actor = ScriptedActor(DemonstratorConfig(), ActionTokeniser(embodiment.action))
    runner = GoalDwellRunner(
        hold,
        embodiment,
        actor=actor,
        reward_model=None,
        kind=Kind.DEMONSTRATION,
        max_steps=MAX_STEPS,
        on_episode=ignore,
    )
    while len(found) < size:
        step = max(4, round(1.3 * (size - len(found))))
        made = runner.run(tables, range(first, first + step), 0)
        found += [episode for episode in made if episode.outcome is Outcome.SUCCESS]
        first += step
    return found[:size]


def ignore(episode: Episode) -> None:
    """Do nothing with a finished episode."""


def save(path: Path, episodes: list[Episode]) -> None:
    """Write episodes as NPZ."""
    with whole_file(path) as unfinished:
        np.savez_compressed(
            unfinished,
            lengths=[len(episode) for episode in episodes],
            seeds=[episode.seed for episode in episodes],
            instructions=np.array([episode.instruction for episode in episodes]),
            observations=np.concatenate([e.observations.images[0] for e in episodes]),
            stamps=np.concatenate([episode.stamps for episode in episodes]),
            tokens=np.concatenate([episode.tokens for episode in episodes]),
            actions=np.concatenate([episode.actions for episode in episodes]),
            true_success_per_step=np.concatenate([e.true_success_per_step for e in episodes]),
        )


def load(path: Path, embodiment: Embodiment) -> list[Episode]:
    """Return the episodes that ``save`` wrote, as demonstrations for ``embodiment``."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    lengths = arrays['lengths']
    actions = np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])
    frames = np.split(np.arange(lengths.sum() + len(lengths)), np.cumsum(lengths + 1)[:-1])
    return [
        restore(arrays, number, action_rows, frame_rows, embodiment)
        for number, (action_rows, frame_rows) in enumerate(zip(actions, frames, strict=True))
    ]


def restore(
    arrays: dict[str, np.ndarray],
    number: int,
    action_rows: np.ndarray,
    frame_rows: np.ndarray,
    embodiment: Embodiment,
) -> Episode:
    """
    Return episode ``number`` of a file.

    :param action_rows: rows of its T actions in ``arrays``, ``(T,)``.
    :param frame_rows: rows of its observations, ``(T + 1,)``.
    """
    return Episode(
        episode_id=f'demonstration-{arrays["seeds"][number]}',
        index=number,
        kind=Kind.DEMONSTRATION,
        instruction=str(arrays['instructions'][number]),
        seed=int(arrays['seeds'][number]),
        observations=Observation.of(arrays['observations'][frame_rows]),
        stamps=arrays['stamps'][frame_rows],
        tokens=arrays['tokens'][action_rows],
        actions=arrays['actions'][action_rows],
        log_probs=np.zeros(len(action_rows), np.float32),
        steps_to_go=np.full(len(frame_rows), np.nan, np.float32),
        outcome=Outcome.SUCCESS,
        termination=Termination.STOPPED,
        policy_version=0,
        reward_version=0,
        embodiment_hash=embodiment.hash,
        true_success=bool(arrays['true_success_per_step'][frame_rows][-1]),
        true_success_per_step=arrays['true_success_per_step'][frame_rows],
    )
