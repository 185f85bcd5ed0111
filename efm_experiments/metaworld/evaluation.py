"""Episodes of a policy on Meta-World, and what they show of policy and success detector."""

from __future__ import annotations

from collections.abc import Sequence
import json

from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.episode_rules import first_detection
from efm_core.files import write_whole
from efm_evaluation.metrics import is_self_stopped
from efm_experiments.caches import cache, fingerprint, name_of
from efm_experiments.config import EVALUATION_SCENES
from efm_experiments.metaworld.config import (
    limits_of,
    make_worlds,
    MetaWorldCell,
    scenes_of,
    SOURCES,
)
from efm_experiments.metaworld.stage_one import acting, locked, Models
from efm_experiments.progress import report
from efm_policy.policy import Policy, PolicyEpisode
from efm_sim.rollout import PolicyActor, Runner, RunningEpisode
import numpy as np

NEVER = -1
OTHER_NOISE = 10**15  # added to the seeds of the sampling noise


class OtherNoise(Policy):
    """A policy whose sampling noise is not that of other policies in the same scene."""

    def start(self, instruction: str, seed: int) -> PolicyEpisode:
        """Return the state of a new episode."""
        return super().start(instruction, seed + OTHER_NOISE)


class UntilKnown(Runner):
    """Ends an episode when the detector has fired and the goal has been reached."""

    def _ending(
        self, episode: RunningEpisode, success: bool
    ) -> tuple[Outcome, Termination] | None:
        """Return how the episode ends now, or None if it continues."""
        found = super()._ending(episode, success)
        if found is None and episode.detected and any(episode.truth):
            return Outcome.SUCCESS, Termination.STOPPED
        return found


def evaluate_before(cell: MetaWorldCell, models: Models, seed: int) -> dict[str, list[int]]:
    """Return the evaluation of stage 1, which all cells of a seed share, from disk if there."""
    name = name_of(cell.stage_one, models.robot, cell.evaluations, seed, fingerprint(*SOURCES))
    path = cache() / 'metaworld' / 'evaluation' / f'{name}.json'
    with locked(path):
        if not path.is_file():
            write_whole(path, json.dumps(evaluate(cell, models, seed, 'before')))
        found: dict[str, list[int]] = json.loads(path.read_text())
        return found


def evaluate(
    cell: MetaWorldCell,
    models: Models,
    seed: int,
    phase: str,
    policy_class: type[Policy] = Policy,
) -> dict[str, list[int]]:
    """
    Return for each scene of each task the step of the goal, of the detection, and the truth there.

    The scenes are the same before and after practice. No detection ends an episode.
    """
    tasks = cell.stage_one.tasks
    policy, reward_model = acting(models, 1, policy_class)
    finished: list[Episode] = []

    def on_episode(episode: Episode) -> None:
        finished.append(episode)
        report(f'evaluation {phase}, {describe(finished, cell.evaluations * len(tasks))}')

    runner = UntilKnown(
        models.robot,
        PolicyActor(policy),
        reward_model=reward_model,
        kind=Kind.EVALUATION,
        max_steps=limits_of(tasks),
        on_episode=on_episode,
        detector_ends_episode=False,
    )
    scenes = scenes_of(EVALUATION_SCENES, seed, tasks, cell.evaluations)
    episodes = runner.run(make_worlds(tasks, len(scenes)), scenes, 0)
    found: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        own = episodes[index :: len(tasks)]
        found |= {f'{name}_{phase}_{task}': column for name, column in columns(own, models)}
    return found


def columns(episodes: Sequence[Episode], models: Models) -> list[tuple[str, list[int]]]:
    """Return step of the goal, step of the detection and truth there, by name."""
    reached = []
    fired = []
    right = []
    for episode in episodes:
        truth = np.asarray(episode.true_success_per_step, bool)
        at = first_detection(episode.steps_to_go, models.robot.episode)
        reached.append(int(truth.argmax()) if truth.any() else NEVER)
        fired.append(NEVER if at is None else at)
        right.append(int(is_self_stopped(truth, at)))
    return [('reached', reached), ('fired', fired), ('right', right)]


def describe(episodes: Sequence[Episode], total: int) -> str:
    """Return episodes so far, how often the detector fired and the goal was reached, as text."""
    fired = np.mean([episode.outcome is Outcome.SUCCESS for episode in episodes])
    reached = np.mean([bool(np.any(e.true_success_per_step)) for e in episodes])
    return f'{len(episodes)} of {total} episodes, fired {fired:.0%}, reached {reached:.0%}'
