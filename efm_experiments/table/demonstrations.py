"""Simulated demonstrations, cached on disk in chunks, so that sets of all sizes share them."""

from __future__ import annotations

from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.tokeniser import ActionTokeniser
from efm_experiments.caches import cache, fingerprint, name_of
from efm_experiments.config import DEMONSTRATION_SCENES, make_tables, SCENES_PER_SEED
from efm_experiments.episode_files import load_demonstrations, save_demonstrations
from efm_sim.rollout import Runner, RunningEpisode, ScriptedActor
from efm_sim.table.config import DemonstratorConfig, TableConfig
from filelock import FileLock

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
            save_demonstrations(path, collect(number, seed, body, embodiment, size, hold))
        return load_demonstrations(path, embodiment)


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
