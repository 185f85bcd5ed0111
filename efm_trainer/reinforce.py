"""
Stage 2: REINFORCE on the decrease of the steps-to-go that the frozen reward model predicts.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 2::

    r_t  = d(o_t, g) - d(o_t+1, g)
    R_t  = sum over i from t to T of gamma^(i - t) r_i
    loss = -c R_t log p(a_t | o_t, g)

The preset ``paper`` has no critic, baseline, clipping or KL, and uses each sample at most once.
With ``update_epochs`` above 1, each batch is used several times within PPO's clip range.
``baseline`` subtracts from R_t what d(o_t) predicts. With ``ema_rate`` below 1, the deployed
policy is an exponential moving average of the trained policy. The simulator's success is never
read.

Letters: ``N`` observations of a batch of episodes, ``M`` of them with an executed action (the
samples), ``B`` samples of one optimiser step, ``K`` tokens of an action, ``V`` largest number of
values of a token, ``F`` features.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, KW_ONLY

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode
from efm_model.protocol import Model
from efm_model.text import InstructionEncoder
from efm_model.torch_runtime import share_frozen_encoder
from efm_reward.reward import returns, rewards
from efm_trainer.config import PracticeConfig
from efm_trainer.dataset import compute_all_features, EpisodeBatch, microbatches, to_batch
from efm_trainer.losses import clipped_loss, entropy, linear_baseline, reinforce_loss
from efm_trainer.prediction import predict_steps_to_go
import numpy as np
import torch


@dataclass(frozen=True)
class UpdateBatch:
    """
    The data of one update of the policy.

    :param episodes: the episodes as arrays, ``N`` observations.
    :param indices: observations with an executed action, ``(M,)`` int64.
    :param returns: R of each sample, ``(M,)`` float32 [steps].
    :param advantages: R minus the baseline, ``(M,)`` float32 [steps].
    :param log_probs: log p of each action under the policy that sampled it, ``(M,)`` float32
        [nats].
    :param steps_to_go: d of every observation, ``(N,)`` float32 [steps].
    :param features: of the policy, of every observation, ``(N, F)`` float32; None for a policy
        whose features are not frozen.
    """

    episodes: EpisodeBatch
    indices: torch.Tensor
    _: KW_ONLY
    returns: torch.Tensor
    advantages: torch.Tensor
    log_probs: torch.Tensor
    steps_to_go: torch.Tensor
    features: torch.Tensor | None


def is_enough(episodes: list[Episode], config: PracticeConfig) -> bool:
    """Return whether there are enough episodes for one update."""
    if config.update == 'episodes':
        return len(episodes) >= config.episodes_per_update
    return sum(map(len, episodes)) >= config.updates * config.batch_size


@torch.no_grad()
def ema_update(average: Model, trained: Model, rate: float) -> None:
    """
    Update an exponential moving average of the weights of a trained model, in place.

    :param rate: average = (1 - rate) average + rate trained.
    """
    for old, new in zip(average.parameters(), trained.parameters(), strict=True):
        old.lerp_(new, rate)


class Reinforce:
    """
    The learner of stage 2.

    :ivar policy: the trained policy; its image encoder stays frozen.
    :ivar deployed: the policy that robots receive: ``policy`` itself, or its moving average.
    :ivar optimiser: AdamW on the weights of ``policy``.
    :ivar generator: random numbers for the order of the samples.
    """

    def __init__(
        self,
        policy: Model,
        reward_model: Model,
        *,
        text_encoder: InstructionEncoder,
        scale: StepsToGoRange,
        config: PracticeConfig,
    ):
        """
        Freeze the reward model and the policy's image encoder.

        :param policy: changed by ``update``.
        :param scale: bins of the reward model's predictions.
        """
        self._text_encoder = text_encoder
        self._scale = scale
        self._config = config
        self.deployed = policy
        self.policy = policy if config.ema_rate == 1 else deepcopy(policy)
        self._reward_model = reward_model
        self._reward_model.eval()
        self._reward_model.requires_grad_(False)
        self.policy.eval()  # the actions were sampled without dropout
        self.policy.freeze_vision()
        self._shares_encoder = share_frozen_encoder(self.policy, reward_model)
        self.optimiser = torch.optim.AdamW(
            [parameter for parameter in self.policy.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(config.seed)

    def prepare(self, episodes: list[Episode]) -> UpdateBatch:
        """
        Return episodes with returns from the reward model, in the order of their index.

        :raises ValueError: when no episode has an action.
        """
        episodes = sorted(episodes, key=lambda episode: (episode.index, episode.episode_id))
        batch = to_batch(episodes, self._text_encoder)
        d, features = predict_steps_to_go(self._reward_model, batch, self._scale)
        if not self._shares_encoder:
            frozen = self.policy.features_are_frozen
            features = compute_all_features(self.policy, batch) if frozen else None
        per_episode = torch.split(d, [len(episode) + 1 for episode in episodes])
        found = torch.from_numpy(
            np.concatenate(
                [
                    returns(self.rewards(episode, part.numpy()), self._config.gamma)
                    for episode, part in zip(episodes, per_episode, strict=True)
                ]
            )
        )
        indices = batch.has_action.nonzero()[:, 0]
        advantages = (
            found - linear_baseline(found, d[indices])
            if self._config.baseline == 'linear'
            else found
        )
        return UpdateBatch(
            batch,
            indices,
            returns=found,
            advantages=advantages,
            log_probs=torch.from_numpy(
                np.concatenate([episode.log_probs for episode in episodes])
            ),
            steps_to_go=d,
            features=features,
        )

    def check(self, episodes: list[Episode]) -> None:
        """
        Refuse episodes whose instruction the text encoder does not take.

        :raises ValueError: with the instruction.
        """
        for episode in episodes:
            self._text_encoder.encode(episode.instruction)

    @torch.no_grad()
    def probe(self, episodes: list[Episode]) -> None:
        """
        Compute the loss of episodes without learning from them.

        :raises ValueError: when no episode has an action, or the loss is not finite.
        """
        batch = self.prepare(episodes)
        for chosen in torch.arange(len(batch.indices)).split(self._config.batch_size):
            for part in microbatches(chosen, self.policy.max_batch_size):
                self._finite_loss(batch, part, 1.0)

    def rewards(self, episode: Episode, steps_to_go: np.ndarray) -> np.ndarray:
        """
        Return the reward of each action, ``(T,)`` float32 [steps]; section 3.2 of the paper.

        :param steps_to_go: d of every observation by the reward model, ``(T + 1,)`` [steps].
        """
        return rewards(steps_to_go)

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """
        Train the policy on episodes and update the deployed policy; return statistics.

        :raises ValueError: when no episode has an action, or the loss is not finite.
        """
        batch = self.prepare([episode for episode in episodes if len(episode)])
        order = torch.randperm(len(batch.indices), generator=self.generator)
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
            'first_steps_to_go': float(batch.steps_to_go[batch.episodes.first].mean()),
            'last_steps_to_go': float(batch.steps_to_go[batch.episodes.last].mean()),
        }

    def _step(self, batch: UpdateBatch, chosen: torch.Tensor) -> dict[str, float]:
        """
        Take one optimiser step.

        :param chosen: positions of the samples in ``batch.indices``, ``(B,)`` int64.
        """
        self.optimiser.zero_grad()
        parts = microbatches(chosen, self.policy.max_batch_size)
        found = [self._backward(batch, part, len(part) / len(chosen)) for part in parts]
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self._config.gradient_clip)
        self.optimiser.step()
        losses, entropies = zip(*found, strict=True)
        return {'loss': sum(losses), 'entropy': sum(entropies), 'gradient_norm': norm.item()}

    def _backward(
        self, batch: UpdateBatch, chosen: torch.Tensor, fraction: float
    ) -> tuple[float, float]:
        """
        Add the gradient of some samples; return their parts of loss and entropy.

        :param fraction: of these samples among those of the optimiser step.
        """
        loss, logits = self._finite_loss(batch, chosen, fraction)
        loss.backward()
        return loss.item(), fraction * entropy(logits.detach()).item()

    def _finite_loss(
        self, batch: UpdateBatch, chosen: torch.Tensor, fraction: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return the part of some samples in the loss, and their logits ``(B, K, V)``.

        :raises ValueError: when the loss is not finite.
        """
        indices = batch.indices[chosen]
        tokens = batch.episodes.tokens[indices]
        features = (
            self.policy.features(batch.episodes.model_inputs(indices))
            if batch.features is None
            else batch.features[indices]
        )
        logits = self.policy.policy_logits(features, tokens)
        loss = fraction * self._loss(batch, chosen, logits)
        if not torch.isfinite(loss):
            raise ValueError(f'loss: expected a finite number, got {loss.item()}')
        return loss, logits

    def _loss(
        self, batch: UpdateBatch, chosen: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of some samples, given their logits ``(B, K, V)``."""
        config = self._config
        tokens = batch.episodes.tokens[batch.indices[chosen]]
        advantages = batch.advantages[chosen]
        if config.update_epochs == 1:
            return reinforce_loss(logits, tokens, advantages, config.return_scale)
        return clipped_loss(
            logits,
            tokens,
            advantages,
            batch.log_probs[chosen],
            config.clip_range,
            config.return_scale,
        )
