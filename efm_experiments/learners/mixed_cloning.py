"""Behaviour cloning of detected practice episodes together with the demonstrations."""

from __future__ import annotations

from math import ceil
from typing import Any

from efm_core.episode import Episode, Termination
from efm_model.protocol import Model
from efm_trainer.dataset import compute_all_features, to_batch
from efm_trainer.losses import action_loss, entropy
from efm_trainer.reinforce import ema_update, Reinforce
import torch


class MixedCloning(Reinforce):
    """
    Clones what the success detector ended, half of each batch; the other half is demonstrations.

    An update has as many optimiser steps as one of `Reinforce` on the same episodes. It draws from
    all successes so far.
    """

    def __init__(
        self,
        policy: Model,
        reward_model: Model,
        *,
        demonstrations: list[Episode],
        **options: Any,
    ):
        """
        Compute the features of the demonstrations; other arguments as ``Reinforce``.

        :param demonstrations: of stage 1.
        """
        super().__init__(policy, reward_model, **options)
        self._shown = self._samples(demonstrations)
        self._succeeded = tuple(part[:0] for part in self._shown)

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """Train the policy on demonstrations and successes; return statistics."""
        successes = [
            e for e in episodes if len(e) and e.termination is Termination.SUCCESS_DETECTED
        ]
        if successes:
            new = self._samples(successes)
            self._succeeded = tuple(map(torch.cat, zip(self._succeeded, new, strict=True)))
        samples = sum(map(len, episodes))
        count = ceil(samples / self._config.batch_size) * self._config.update_epochs
        steps = [self._clone() for _ in range(count)]
        if self.deployed is not self.policy:
            ema_update(self.deployed, self.policy, self._config.ema_rate)
        means = torch.tensor(steps).mean(dim=0).tolist()
        return {'samples': samples, **dict(zip(('loss', 'entropy'), means, strict=True))}

    def _samples(self, episodes: list[Episode]) -> tuple[torch.Tensor, ...]:
        """Return features ``(M, F)`` and tokens ``(M, K)`` of all actions."""
        batch = to_batch(episodes, self._text_encoder)
        features = compute_all_features(self.policy, batch)
        return features[batch.has_action], batch.tokens[batch.has_action]

    def _clone(self) -> tuple[float, float]:
        """Take one optimiser step; return its loss and the entropy of the policy [nats]."""
        half = self._config.batch_size // 2
        sets = [self._shown, self._succeeded if len(self._succeeded[0]) else self._shown]
        parts = [self._draw(samples, half) for samples in sets]
        features, tokens = (torch.cat(part) for part in zip(*parts, strict=True))
        logits = self.policy.policy_logits(features, tokens)
        loss = action_loss(logits, tokens)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self._config.gradient_clip)
        self.optimiser.step()
        return loss.item(), entropy(logits.detach()).item()

    def _draw(self, samples: tuple[torch.Tensor, ...], count: int) -> tuple[torch.Tensor, ...]:
        """Return ``count`` random samples, with repeats."""
        chosen = torch.randint(len(samples[0]), (count,), generator=self.generator)
        return tuple(part[chosen] for part in samples)
