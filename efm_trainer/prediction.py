"""
Steps-to-go of whole episodes by a reward model in torch.

Letters: ``N`` observations of a batch of episodes, ``F`` features, ``T`` actions of one episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode
from efm_model.protocol import Model
from efm_model.text import InstructionEncoder
from efm_trainer.dataset import compute_all_features, EpisodeBatch, microbatches, to_batch
import numpy as np
import torch


@torch.no_grad()
def expected_steps_to_go(
    reward_model: Model, features: Any, scale: StepsToGoRange
) -> torch.Tensor:
    """
    Return d(o, g), the mean of the predicted distribution, ``(N,)`` float32 [steps].

    :param features: of ``N`` observations, from the reward model's own encoder.
    """
    logits = reward_model.steps_to_go_logits(features)
    return torch.softmax(logits, dim=-1) @ torch.from_numpy(scale.values)


@torch.no_grad()
def predict_steps_to_go(
    reward_model: Model, batch: EpisodeBatch, scale: StepsToGoRange
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Return d of every observation, and its features if those are frozen.

    :return: ``(N,)`` float32 [steps]; ``(N, F)`` float32 or None.
    """
    if reward_model.features_are_frozen:
        features = compute_all_features(reward_model, batch)
        return expected_steps_to_go(reward_model, features, scale), features
    parts = microbatches(torch.arange(len(batch.frames)), reward_model.max_batch_size)
    predictions = [
        expected_steps_to_go(
            reward_model, reward_model.features(batch.model_inputs(indices)), scale
        )
        for indices in parts
    ]
    return torch.cat(predictions), None


def predict_each(
    reward_model: Model,
    episodes: Sequence[Episode],
    text_encoder: InstructionEncoder,
    scale: StepsToGoRange,
) -> list[np.ndarray]:
    """
    Return d of every observation of each episode, ``(T + 1,)`` float32 [steps].

    :param episodes: each with at least one action.
    """
    if not episodes:
        return []
    d, _ = predict_steps_to_go(reward_model, to_batch(episodes, text_encoder), scale)
    return [part.numpy() for part in torch.split(d, [len(one) + 1 for one in episodes])]
