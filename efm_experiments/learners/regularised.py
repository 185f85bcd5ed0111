"""Learners that are held back, so that long practice does not undo what was learned."""

from __future__ import annotations

from copy import deepcopy

from efm_core.episode import Episode
from efm_experiments.learners.base import Descent
from efm_experiments.learners.sample_reuse import Reuse, Reusing
from efm_model.network import CompactModel
from efm_trainer.losses import reinforce_loss
from efm_trainer.reinforce import ema_update, UpdateBatch
import torch

SHARE = 0.1  # of the way to what learned that a follower goes at each update


class Anchored(Descent):
    """REINFORCE that also stays near the policy of stage 1, by KL(policy, stage 1)."""

    def __init__(self, *arguments, weight: float, **words):
        super().__init__(*arguments, **words)
        self._weight = weight
        self._anchor = deepcopy(self.policy).eval().requires_grad_(False)

    def _step(self, batch: UpdateBatch, chosen: torch.Tensor) -> dict[str, float]:
        """Take one optimiser step on the samples ``chosen``."""
        rows = batch.indices[chosen]
        features = batch.features[rows]
        tokens = batch.episodes.tokens[rows]
        logits = self.policy.policy_logits(features, tokens)
        anchor = self._anchor.policy_logits(features, tokens)
        away = torch.log_softmax(logits, dim=-1) - torch.log_softmax(anchor, dim=-1)
        away = (torch.softmax(logits, dim=-1) * away).sum(dim=(-1, -2)).mean()
        loss = reinforce_loss(logits, tokens, batch.returns[chosen], self._config.return_scale)
        return self._descend(loss + self._weight * away, loss, logits)


class Averaged(Reusing):
    """
    The policy that acts is a moving average of the one that learns.

    What acted is then not quite what learns, hence the truncated importance weights.
    """

    def __init__(self, policy: CompactModel, *arguments, share: float, **words):
        super().__init__(deepcopy(policy), *arguments, reuse=Reuse(guard='truncated'), **words)
        self.deployed = policy
        self._share = share

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """Learn from ``episodes``, then let what acts follow."""
        found = super().update(episodes)
        ema_update(self.deployed, self.policy, self._share)
        return found
