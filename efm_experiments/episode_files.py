"""Successful demonstrations as NPZ files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, perturbations, Termination
from efm_core.files import whole_file
from efm_core.observation import Observation
import numpy as np


def save_demonstrations(path: Path, episodes: list[Episode]) -> None:
    """Write demonstrations."""
    seen = Observation.concatenate([episode.observations for episode in episodes])
    arrays: dict[str, Any] = {f'images_{k}': images for k, images in enumerate(seen.images)}
    with whole_file(path) as unfinished:
        np.savez_compressed(
            unfinished,
            lengths=[len(episode) for episode in episodes],
            seeds=[episode.seed for episode in episodes],
            instructions=np.array([episode.instruction for episode in episodes]),
            **arrays,
            proprioception=seen.proprioception,
            stamps=np.concatenate([episode.stamps for episode in episodes]),
            tokens=np.concatenate([episode.tokens for episode in episodes]),
            actions=np.concatenate([episode.actions for episode in episodes]),
            perturbed=np.concatenate([_marks(episode) for episode in episodes]),
            true_success_per_step=np.concatenate([e.true_success_per_step for e in episodes]),
        )


def load_demonstrations(path: Path, embodiment: Embodiment) -> list[Episode]:
    """Return what ``save_demonstrations`` wrote, as demonstrations for ``embodiment``."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    lengths = arrays['lengths']
    actions = np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])
    frames = np.split(np.arange(lengths.sum() + len(lengths)), np.cumsum(lengths + 1)[:-1])
    return [
        _restore(arrays, number, action_rows, frame_rows, embodiment)
        for number, (action_rows, frame_rows) in enumerate(zip(actions, frames, strict=True))
    ]


def _marks(episode: Episode) -> np.ndarray:
    """Return which actions are deliberate mistakes, ``(T,)`` bool."""
    return np.zeros(len(episode), bool) if episode.perturbed is None else episode.perturbed


def _restore(
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
    images = tuple(arrays[f'images_{k}'][frame_rows] for k in range(len(embodiment.cameras)))
    return Episode(
        episode_id=f'demonstration-{arrays["seeds"][number]}',
        index=number,
        kind=Kind.DEMONSTRATION,
        instruction=str(arrays['instructions'][number]),
        seed=int(arrays['seeds'][number]),
        observations=Observation(images, arrays['proprioception'][frame_rows]),
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
        perturbed=perturbations(arrays['perturbed'][action_rows]),
    )
