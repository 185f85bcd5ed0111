"""
Base classes of the experiments' learners and reward models.

Letters: ``M`` samples, ``N`` observations, ``F`` features, ``K`` tokens, ``C`` steps-to-go bins.
"""

from __future__ import annotations

from typing import Any, cast

from efm_core.episode import Episode
from efm_model.grounding import GroundingEncoder
from efm_model.network import GroundingModel
from efm_trainer.losses import entropy
from efm_trainer.reinforce import Reinforce, UpdateBatch
import torch
from torch import nn


class WrappedReward(nn.Module):
    """
    A reward model with its own steps-to-go head on the frozen encoder of a grounding model.

    :ivar base: the grounding model that computes the features.
    """

    base: GroundingModel
    encoder: GroundingEncoder
    features_are_frozen: bool
    config: Any

    def __init__(self, base: GroundingModel):
        super().__init__()
        self.base = base
        self.config = base.config
        self.encoder = base.grounding
        self.features_are_frozen = True

    def encode_frames(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and occupancy of ``frames``, as ``GroundingModel.encode_frames``."""
        return self.base.encode_frames(frames)

    def ground(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the features, ``(N, F)``, as ``GroundingModel.ground``."""
        return self.base.ground(*inputs)

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of the embodiment's steps-to-go bins, ``(N, C)``."""
        raise NotImplementedError

    def as_model(self) -> GroundingModel:
        """Return this model under the type that the trainer expects of a reward model."""
        return cast(GroundingModel, self)


class SharedEncoderLearner(Reinforce):
    """A learner with its own loss; policy and reward model share one frozen encoder."""

    def __init__(self, policy: GroundingModel, reward_model: GroundingModel, **options: Any):
        """
        Prepare to learn; arguments as ``Reinforce``.

        :raises ValueError: when policy and reward model have different encoders.
        """
        super().__init__(policy, reward_model, **options)
        if not self._shares_encoder:
            raise ValueError('learner: expected one encoder for policy and reward model, got two')

    def _optimiser_step(
        self, total: torch.Tensor, loss: torch.Tensor, logits: torch.Tensor
    ) -> dict[str, float]:
        """
        Minimise ``total`` by one step; return the figures that ``Reinforce`` returns.

        :param loss: the part of ``total`` that is reported.
        :param logits: of the policy, ``(M, K, V)``.
        """
        self.optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), self._config.gradient_clip)
        self.optimiser.step()
        with torch.no_grad():
            spread = entropy(logits).item()
        return {'loss': loss.item(), 'entropy': spread, 'gradient_norm': norm.item()}


def frozen_features(batch: UpdateBatch) -> torch.Tensor:
    """
    Return the frozen encoder's features of every observation, ``(N, F)``.

    :raises ValueError: when the batch has none.
    """
    if batch.features is None:
        raise ValueError('batch: expected features of a frozen encoder, got none')
    return batch.features


def sort_episodes(episodes: list[Episode]) -> list[Episode]:
    """Return episodes in the order of ``Reinforce.prepare``: by index, then by identifier."""
    return sorted(episodes, key=lambda episode: (episode.index, episode.episode_id))
