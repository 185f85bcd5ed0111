"""
Stage 2: REINFORCE on the decrease of the frozen model's own steps-to-go.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 2::

    r_t  = d(o_t, g) - d(o_t+1, g)
    R_t  = sum over i from t to T of gamma^(i - t) r_i
    loss = -c R_t log p(a_t | o_t, g)

The paper has no critic, baseline, clipping or KL and uses every sample once at most; so does the
preset ``paper``. With ``update_epochs`` above 1 each batch is reused within PPO's clip range, and
``baseline`` subtracts from R_t what d(o_t) already predicts. With ``ema_rate`` below 1 the
deployed policy is a moving average of the trained policy, which keeps long practice steady. The
simulator's success is never read.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, KW_ONLY
from typing import Any

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode
from efm_model.protocol import Model
from efm_model.text import TextEncoder
from efm_model.torch_runtime import share_frozen_encoder
from efm_reward.reward import returns, rewards
from efm_trainer.config import PracticeConfig
from efm_trainer.dataset import all_features, microbatches, Samples, to_samples
from efm_trainer.losses import clipped_loss, entropy, linear_baseline, reinforce_loss
import numpy as np
import torch


@dataclass(frozen=True)
class Batch:
    """
    Everything one update learns from.

    :param rows: observations with an executed action, ``(M,)``.
    :param returns: ``(M,)`` float32, R of each of them [steps].
    :param advantages: ``(M,)`` float32, R less the baseline [steps].
    :param before: log p of the policy that acted, ``(M,)`` float32.
    :param steps_to_go: d of every observation, ``(N,)`` float32 [steps].
    :param features: of every observation, ``(N, F)``, from the reward model's encoder; None of
        a model without an encoder of its own.
    """

    samples: Samples
    rows: torch.Tensor
    _: KW_ONLY
    returns: torch.Tensor
    advantages: torch.Tensor
    before: torch.Tensor
    steps_to_go: torch.Tensor
    features: torch.Tensor | None


@torch.no_grad()
def label(reward_model: Model, features: Any, scale: StepsToGoRange) -> torch.Tensor:
    """
    Return d(o, g), the mean of the predicted distribution, ``(N,)`` [steps].

    :param features: the reward model's own, of ``N`` observations.
    """
    logits = reward_model.steps_to_go_logits(features)
    return torch.softmax(logits, dim=-1) @ torch.from_numpy(scale.values)


def predict_steps_to_go(
    reward_model: Model, samples: Samples, scale: StepsToGoRange
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return d of every observation, ``(N,)`` [steps], and the features that an encoder gave."""
    max_batch_size = getattr(reward_model, 'max_batch_size', 0)  # whatever judges features will do
    if not max_batch_size:
        features = all_features(reward_model, samples)
        return label(reward_model, features, scale), features
    parts = microbatches(torch.arange(len(samples.frames)), max_batch_size)
    seen = (reward_model.features(*samples.model_inputs(rows)) for rows in parts)
    return torch.cat([label(reward_model, features, scale) for features in seen]), None


@torch.no_grad()
def ema_update(follower: Model, leader: Model, share: float) -> None:
    """Move all weights of ``follower`` this ``share`` of the way to those of ``leader``."""
    for old, new in zip(follower.parameters(), leader.parameters(), strict=True):
        old.lerp_(new, share)


class Reinforce:
    """
    The learner of stage 2.

    :ivar policy: the model that learns; its image encoder stays frozen.
    :ivar deployed: the policy that robots receive: ``policy`` itself, or its moving average.
    """

    def __init__(
        self,
        policy: Model,
        reward_model: Model,
        *,
        encoder: TextEncoder,
        scale: StepsToGoRange,
        config: PracticeConfig,
    ):
        """Freeze the reward model and the image encoder."""
        self._encoder = encoder
        self._scale = scale
        self._config = config
        self.deployed = policy
        self.policy = policy if config.ema_rate == 1 else deepcopy(policy)
        self._reward_model = reward_model.eval().requires_grad_(False)
        self.policy.eval()  # log p of what acted: no dropout
        self.policy.freeze_vision()
        self._same_tower = share_frozen_encoder(self.policy, reward_model)
        self.optimiser = torch.optim.AdamW(
            [parameter for parameter in self.policy.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(config.seed)

    def prepare(self, episodes: list[Episode]) -> Batch:
        """Return ``episodes`` with returns from the frozen reward model, sorted by their index."""
        episodes = sorted(episodes, key=lambda episode: (episode.index, episode.episode_id))
        samples = to_samples(episodes, self._encoder)
        d, features = predict_steps_to_go(self._reward_model, samples, self._scale)
        per_episode = torch.split(d, [len(episode) + 1 for episode in episodes])
        found = [returns(rewards(part.numpy()), self._config.gamma) for part in per_episode]
        found = torch.from_numpy(np.concatenate(found))
        rows = samples.has_action.nonzero()[:, 0]
        before = torch.from_numpy(np.concatenate([episode.log_probs for episode in episodes]))
        advantages = (
            found - linear_baseline(found, d[rows]) if self._config.baseline == 'linear' else found
        )
        return Batch(
            samples,
            rows,
            returns=found,
            advantages=advantages,
            before=before,
            steps_to_go=d,
            features=features,
        )

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """
        Learn from ``episodes``, once or in several passes; return what happened.

        :raises ValueError: when no episode has an action, or the loss is not finite.
        """
        batch = self.prepare([episode for episode in episodes if len(episode)])
        order = torch.randperm(len(batch.rows), generator=self.generator)
        if self._config.update == 'samples':
            order = order[: self._config.updates * self._config.batch_size]
        steps = [self._step(batch, chosen) for chosen in order.split(self._config.batch_size)]
        for _ in range(1, self._config.update_epochs):
            order = order[torch.randperm(len(order), generator=self.generator)]
            steps += [self._step(batch, chosen) for chosen in order.split(self._config.batch_size)]
        if self.deployed is not self.policy:
            ema_update(self.deployed, self.policy, self._config.ema_rate)
        return {
            'samples': len(order),
            'optimiser_steps': len(steps),
            'loss': float(np.mean([step['loss'] for step in steps])),
            'entropy': float(np.mean([step['entropy'] for step in steps])),
            'gradient_norm': float(np.mean([step['gradient_norm'] for step in steps])),
            'mean_return': float(batch.returns.mean()),
            'first_steps_to_go': float(batch.steps_to_go[batch.samples.first].mean()),
            'last_steps_to_go': float(batch.steps_to_go[batch.samples.last].mean()),
        }

    def _step(self, batch: Batch, chosen: torch.Tensor) -> dict[str, float]:
        """Take one optimiser step on the samples ``chosen``."""
        self.optimiser.zero_grad()
        parts = microbatches(chosen, self.policy.max_batch_size)
        found = [self._descend(batch, part, len(part) / len(chosen)) for part in parts]
        parameters = self.policy.parameters()
        clip = self._config.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
        self.optimiser.step()
        loss, spread = map(sum, zip(*found, strict=True))
        return {'loss': loss, 'entropy': spread, 'gradient_norm': norm.item()}

    def _descend(self, batch: Batch, chosen: torch.Tensor, share: float) -> tuple[float, float]:
        """
        Add the gradient of the samples ``chosen``; return loss and entropy, their part of it.

        :param share: of these samples in those of the optimiser step.
        """
        rows = batch.rows[chosen]
        tokens = batch.samples.tokens[rows]
        if self._same_tower:
            features = batch.features[rows]
        else:
            features = self.policy.features(*batch.samples.model_inputs(rows))
        logits = self.policy.policy_logits(features, tokens)
        loss = share * self._loss(batch, chosen, logits)
        if not torch.isfinite(loss):
            raise ValueError(f'loss: expected a finite number, got {loss.item()}')
        loss.backward()
        return loss.item(), share * entropy(logits.detach()).item()

    def _loss(self, batch: Batch, chosen: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Return the loss of the samples ``chosen``, given their logits."""
        config = self._config
        tokens = batch.samples.tokens[batch.rows[chosen]]
        worth = batch.advantages[chosen]
        if config.update_epochs == 1:
            return reinforce_loss(logits, tokens, worth, config.return_scale)
        before = batch.before[chosen]
        return clipped_loss(logits, tokens, worth, before, config.clip_range, config.return_scale)
