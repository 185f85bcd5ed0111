"""Episodes in simulated worlds, in this process and without ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim import rollout as in_process
from efm_sim.world import PublishedWorld, World

OnEpisode = Callable[[Episode], None]
AnyWorld = TypeVar('AnyWorld', bound=World)


def rollout(
    worlds: World | Sequence[World],
    policy: Policy,
    reward_model: RewardModel | None,
    seeds: Iterable[int],
    *,
    detector_ends_episode: bool = True,
    max_steps: int = 0,
    on_episode: OnEpisode | None = None,
) -> list[Episode]:
    """
    Run one episode of a policy for each seed; return the episodes in the order of the seeds.

    :param worlds: one world or several. Several run side by side with one batched inference,
        which is faster.
    :param policy: chooses the actions. The same seed gives the same episode.
    :param reward_model: predicts the steps-to-go of each observation; its success detector ends
        an episode. None: simulator truth ends an episode, for measurements only.
    :param seeds: a scene each.
    :param detector_ends_episode: False: every episode runs to its time limit, or to the end of
        its scene, as in ``efm evaluate``.
    :param max_steps: time limit [decisions]; 0: that of the embodiment.
    :param on_episode: receives each episode when it ends.
    :raises ValueError: when an observation breaks the contract of the embodiment.
    """
    return in_process.rollout(
        as_list(worlds),
        policy,
        reward_model,
        seeds,
        policy.embodiment,
        Kind.EVALUATION,
        max_steps=max_steps,
        detector_ends_episode=detector_ends_episode,
        on_episode=on_episode or ignore,
    )


def demonstrate(
    worlds: PublishedWorld | Sequence[PublishedWorld],
    embodiment: Embodiment,
    seeds: Iterable[int],
    *,
    max_steps: int = 0,
    on_episode: OnEpisode | None = None,
) -> list[Episode]:
    """
    Run one episode of the scripted demonstrator for each seed; return them in that order.

    The demonstrator reads the truth of the simulator. It does not always succeed;
    ``episode.outcome`` tells.

    :param worlds: one world or several that run side by side. A Gymnasium environment needs a
        ``demonstrator`` in its embodiment's file.
    :param embodiment: of the worlds.
    :param seeds: a scene each.
    :param max_steps: time limit [control steps]; 0: that of the embodiment.
    :param on_episode: receives each episode when it ends.
    """
    worlds = as_list(worlds)
    return in_process.demonstrate(
        worlds,
        seeds,
        embodiment,
        max_steps=max_steps,
        on_episode=on_episode or ignore,
        demonstrator=getattr(worlds[0], 'demonstrator', ''),
    )


def as_list(worlds: AnyWorld | Sequence[AnyWorld]) -> list[AnyWorld]:
    """
    Return one world or several as a list.

    :raises ValueError: when it is empty.
    """
    found = list(worlds) if isinstance(worlds, Sequence) else [worlds]
    if not found:
        raise ValueError('worlds: expected at least one, got none')
    return found


def ignore(episode: Episode) -> None:
    """Do nothing with an episode."""
