"""Learners with a regulariser that keeps success steady during long practice."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from efm_core.episode import Episode
from efm_experiments.learners.base import frozen_features, SharedEncoderLearner
from efm_experiments.learners.sample_reuse import ReplayConfig, ReplayLearner
from efm_model.network import GroundingModel
from efm_trainer.losses import reinforce_loss
from efm_trainer.reinforce import ema_update, UpdateBatch
import torch

EMA_RATE = 0.1  # fraction of the trained weights blended into the deployed policy at each update


class KlRegularised(SharedEncoderLearner):
    """REINFORCE with a penalty on KL(policy, policy of stage 1)."""

    def __init__(
        self,
        policy: GroundingModel,
        reward_model: GroundingModel,
        *,
        kl_weight: float,
        **options: Any,
    ):
        """
        Keep a frozen copy of the policy of stage 1.

        :param kl_weight: weight of the penalty; all other arguments as ``Reinforce``.
        """
        super().__init__(policy, reward_model, **options)
        self._kl_weight = kl_weight
        self._stage_one = deepcopy(policy).eval().requires_grad_(False)

    def _step(self, batch: UpdateBatch, chosen: torch.Tensor) -> dict[str, float]:
        """Take one optimiser step on the samples ``chosen``."""
        rows = batch.indices[chosen]
        features = frozen_features(batch)[rows]
        tokens = batch.episodes.tokens[rows]
        logits = self.policy.policy_logits(features, tokens)
        reference = self._stage_one.policy_logits(features, tokens)
        log_ratio = torch.log_softmax(logits, dim=-1) - torch.log_softmax(reference, dim=-1)
        divergence = (torch.softmax(logits, dim=-1) * log_ratio).sum(dim=(-1, -2)).mean()
        loss = reinforce_loss(logits, tokens, batch.advantages[chosen], self._config.return_scale)
        return self._optimiser_step(loss + self._kl_weight * divergence, loss, logits)


class EmaLearner(ReplayLearner):
    """
    REINFORCE whose deployed policy is an exponential moving average of the trained policy.

    The samples come from the deployed policy, so that truncated importance weights correct them.
    """

    def __init__(
        self,
        policy: GroundingModel,
        reward_model: GroundingModel,
        *,
        ema_rate: float,
        **options: Any,
    ):
        """
        Train a copy of ``policy``; ``policy`` itself becomes the deployed policy.

        :param ema_rate: fraction of the trained weights blended in at each update; all other
            arguments as ``Reinforce``.
        """
        replay = ReplayConfig(importance_weights='truncated')
        super().__init__(deepcopy(policy), reward_model, replay=replay, **options)
        self.deployed = policy
        self._ema_rate = ema_rate

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """Learn from ``episodes``; then move the deployed policy towards the trained policy."""
        found = super().update(episodes)
        ema_update(self.deployed, self.policy, self._ema_rate)
        return found
