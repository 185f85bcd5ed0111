"""
Stage 2: REINFORCE on the decrease of the frozen model's own steps-to-go.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 2::

    r_t  = d(o_t, g) - d(o_t+1, g)
    R_t  = sum over i from t to T of gamma^(i - t) r_i
    loss = -c R_t log p(a_t | o_t, g)

No critic, baseline, clipping or KL; every sample is used once at most. What a simulator knows of
success is never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode
from efm_model.network import CompactModel
from efm_model.text import TextEncoder
from efm_reward.reward import returns, rewards
from efm_trainer.config import PracticeConfig
from efm_trainer.dataset import all_features, Samples, to_samples
from efm_trainer.losses import entropy, reinforce_loss
import numpy as np
import torch


@dataclass(frozen=True)
class Batch:
    """
    Everything one update learns from.

    :param rows: observations with an executed action, ``(M,)``.
    :param returns: ``(M,)`` float32, R of each of them [steps].
    :param steps_to_go: d of every observation, ``(N,)`` float32 [steps].
    :param features: of every observation, ``(N, F)``, as the reward model's tower sees it.
    """

    samples: Samples
    rows: torch.Tensor
    returns: torch.Tensor
    steps_to_go: torch.Tensor
    features: torch.Tensor


@torch.no_grad()
def label(
    reward_model: CompactModel, features: torch.Tensor, scale: StepsToGoRange
) -> torch.Tensor:
    """
    Return d(o, g), the mean of the predicted distribution, ``(N,)`` [steps].

    :param features: of the reward model's own tower, ``(N, F)``.
    """
    logits = reward_model.steps_to_go_logits(features)
    return torch.softmax(logits, dim=-1) @ torch.from_numpy(scale.values)


def have_same_tower(one: CompactModel, other: CompactModel) -> bool:
    """Return whether both see the same and neither will ever learn to see otherwise."""
    if not (one.config.tower_is_frozen and other.config.tower_is_frozen):
        return False
    pairs = zip(one.tower.parameters(), other.tower.parameters(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


class Reinforce:
    """
    The learner of stage 2.

    :ivar policy: the model that learns; its image tower stays frozen.
    """

    def __init__(
        self,
        policy: CompactModel,
        reward_model: CompactModel,
        encoder: TextEncoder,
        scale: StepsToGoRange,
        config: PracticeConfig,
    ):
        """Freeze the reward model and the image tower."""
        self.policy, self._encoder, self._scale, self._config = policy, encoder, scale, config
        self._reward_model = reward_model.eval().requires_grad_(False)
        self.policy.eval()  # log p of what acted: no dropout
        self.policy.tower.image.requires_grad_(False)
        self._same_tower = have_same_tower(policy, reward_model)
        self.optimiser = torch.optim.AdamW(
            [parameter for parameter in policy.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(config.seed)

    def prepare(self, episodes: list[Episode]) -> Batch:
        """Return ``episodes`` with returns from the frozen reward model, sorted by their index."""
        episodes = sorted(episodes, key=lambda episode: (episode.index, episode.episode_id))
        samples = to_samples(episodes, self._encoder)
        features = all_features(self._reward_model, samples)
        d = label(self._reward_model, features, self._scale)
        per_episode = torch.split(d, [len(episode) + 1 for episode in episodes])
        found = [returns(rewards(part.numpy()), self._config.gamma) for part in per_episode]
        rows = samples.has_action.nonzero()[:, 0]
        return Batch(samples, rows, torch.from_numpy(np.concatenate(found)), d, features)

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """
        Learn from ``episodes`` once; return what happened.

        :raises ValueError: when no episode has an action, or the loss is not finite.
        """
        batch = self.prepare([episode for episode in episodes if len(episode)])
        order = torch.randperm(len(batch.rows), generator=self.generator)
        if self._config.update == 'samples':
            order = order[: self._config.updates * self._config.batch]
        steps = [self._step(batch, chosen) for chosen in order.split(self._config.batch)]
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
        rows, config = batch.rows[chosen], self._config
        tokens = batch.samples.tokens[rows]
        if self._same_tower:
            features = batch.features[rows]
        else:
            features = self.policy.features(*batch.samples.glimpses(rows))
        logits = self.policy.policy_logits(features, tokens)
        loss = reinforce_loss(logits, tokens, batch.returns[chosen], config.return_scale)
        if not torch.isfinite(loss):
            raise ValueError(f'loss: expected a finite number, got {loss.item()}')
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.gradient_clip)
        self.optimiser.step()
        return {
            'loss': loss.item(),
            'entropy': entropy(logits.detach()).item(),
            'gradient_norm': norm.item(),
        }
