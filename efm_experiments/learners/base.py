"""What learners of the experiments share beside the project's own REINFORCE."""

from __future__ import annotations

from efm_core.episode import Episode
from efm_trainer.losses import entropy
from efm_trainer.reinforce import Reinforce
import torch
from torch import nn


class Descent(Reinforce):
    """REINFORCE's episodes, for a loss of one's own; policy and reward model see the same."""

    def __init__(self, *arguments, **words):
        super().__init__(*arguments, **words)
        if not self._shares_encoder:
            raise ValueError('learner: expected one encoder for policy and reward model, got two')

    def _descend(
        self, total: torch.Tensor, loss: torch.Tensor, logits: torch.Tensor
    ) -> dict[str, float]:
        """Follow the gradient of ``total``; return what the project's learner returns."""
        self.optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), self._config.gradient_clip)
        self.optimiser.step()
        with torch.no_grad():
            spread = entropy(logits).item()
        return {'loss': loss.item(), 'entropy': spread, 'gradient_norm': norm.item()}


def ordered(episodes: list[Episode]) -> list[Episode]:
    """Return episodes in the order in which the learner puts them."""
    return sorted(episodes, key=lambda episode: (episode.index, episode.episode_id))
