"""
Learners that use each sample several times; the paper uses each sample once.

Letters: ``M`` samples, ``F`` features, ``K`` tokens.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, KW_ONLY
from typing import Any

from efm_core.config import config, parameter
from efm_core.episode import Episode
from efm_experiments.learners.base import frozen_features, SharedEncoderLearner
from efm_model.network import FEATURES, GroundingModel, log_probability
from efm_trainer.losses import clipped
import torch
from torch import nn

CRITIC_STEPS = 40  # optimiser steps of the critic per update
CRITIC_LEARNING_RATE = 3e-3


@config
class ReplayConfig:
    """
    How samples are reused.

    :raises ValueError: when a value is out of range.
    """

    update_epochs: int = parameter(1, 'Epochs over all stored samples per update', '', 1, 100)
    memory: int = parameter(1, 'Updates whose episodes are stored', '', 1, 1000)
    importance_weights: str = parameter(
        'none', 'Treatment of the importance weight', choices=('none', 'truncated', 'clipped')
    )
    max_weight: float = parameter(1.0, 'Largest importance weight (truncated)', '', 0.0, 1e3)
    clip_range: float = parameter(
        0.2, 'Largest distance of an importance weight from 1 (clipped)', '', 0.0, 1.0
    )
    baseline: str = parameter(
        'none', 'Baseline that is subtracted from the returns', choices=('none', 'critic')
    )


@dataclass(frozen=True)
class ReplaySamples:
    """
    Samples with the probabilities of the deployed policy.

    :param features: ``(M, F)`` float32.
    :param tokens: ``(M, K)`` int64.
    :param returns: ``(M,)`` float32 [steps].
    :param steps_to_go: d of the same observations, ``(M,)`` float32 [steps].
    :param old_log_probs: log p of the deployed policy, ``(M,)`` float32.
    """

    features: torch.Tensor
    tokens: torch.Tensor
    _: KW_ONLY
    returns: torch.Tensor
    steps_to_go: torch.Tensor
    old_log_probs: torch.Tensor

    def __len__(self) -> int:
        return len(self.old_log_probs)


def concatenate(parts: list[ReplaySamples]) -> ReplaySamples:
    """Return the samples of several updates as one set."""
    return ReplaySamples(
        **{
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(ReplaySamples)
        }
    )


class ReplayLearner(SharedEncoderLearner):
    """REINFORCE on the paper's returns, with several epochs or with older episodes."""

    def __init__(
        self,
        policy: GroundingModel,
        reward_model: GroundingModel,
        *,
        replay: ReplayConfig,
        **options: Any,
    ):
        """
        Create the memory and, if configured, the critic.

        :param replay: how samples are reused; all other arguments as ``Reinforce``.
        """
        super().__init__(policy, reward_model, **options)
        self._replay = replay
        self._memory: deque[ReplaySamples] = deque(maxlen=replay.memory)
        self._critic = Critic() if replay.baseline == 'critic' else None

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """Learn from ``episodes`` and the stored samples; return the figures of the last step."""
        self._memory.append(self.collect([episode for episode in episodes if len(episode)]))
        samples = concatenate(list(self._memory))
        advantages = samples.returns - self.predict_returns(samples)
        for _ in range(self._replay.update_epochs):
            order = torch.randperm(len(samples), generator=self.generator)
            steps = [
                self._learn(samples, advantages, chosen)
                for chosen in order.split(self._config.batch_size)
            ]
        return {**steps[-1], 'samples': len(samples)}

    def collect(self, episodes: list[Episode]) -> ReplaySamples:
        """Return the samples of ``episodes``."""
        batch = self.prepare(episodes)
        rows = batch.indices
        return ReplaySamples(
            frozen_features(batch)[rows],
            batch.episodes.tokens[rows],
            returns=batch.returns,
            steps_to_go=batch.steps_to_go[rows],
            old_log_probs=batch.log_probs,
        )

    def predict_returns(self, samples: ReplaySamples) -> torch.Tensor:
        """Return the baseline, ``(M,)`` [steps]; it depends on the observations only."""
        return self._critic.predict(samples) if self._critic else torch.zeros(len(samples))

    def _learn(
        self, samples: ReplaySamples, advantages: torch.Tensor, chosen: torch.Tensor
    ) -> dict[str, float]:
        """Take one optimiser step on the samples ``chosen``."""
        tokens = samples.tokens[chosen]
        logits = self.policy.policy_logits(samples.features[chosen], tokens)
        log_probs = log_probability(logits, tokens)
        advantage = advantages[chosen]
        ratio = (log_probs - samples.old_log_probs[chosen]).exp()
        if self._replay.importance_weights == 'clipped':
            objective = clipped(ratio, advantage, self._replay.clip_range)
        elif self._replay.importance_weights == 'truncated':
            objective = truncate(ratio, self._replay.max_weight) * advantage * log_probs
        else:
            objective = advantage * log_probs
        loss = -self._config.return_scale * objective.mean()
        return self._optimiser_step(loss, loss, logits)


class Critic:
    """A small network that predicts the returns."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._network = nn.Sequential(
                nn.Linear(FEATURES + 1, 64),
                nn.ReLU(),
                nn.Linear(64, 64),
                nn.ReLU(),
                nn.Linear(64, 1),
            )
        self._optimiser = torch.optim.AdamW(self._network.parameters(), lr=CRITIC_LEARNING_RATE)

    def predict(self, samples: ReplaySamples) -> torch.Tensor:
        """Return the predicted returns, ``(M,)`` [steps]; then fit the network to the returns."""
        inputs = torch.cat([samples.features, samples.steps_to_go[:, None] / 10], dim=1)
        with torch.no_grad():
            found = self._network(inputs)[:, 0]
        for _ in range(CRITIC_STEPS):
            loss = nn.functional.mse_loss(self._network(inputs)[:, 0], samples.returns)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        return found


def truncate(ratio: torch.Tensor, max_weight: float) -> torch.Tensor:
    """Return min(ratio, ``max_weight``) as a constant weight without a gradient."""
    return ratio.detach().clamp(max=max_weight)


# The configuration of each learner that reuses samples.
REPLAY_CONFIGS = {
    'replay': ReplayConfig(memory=4, importance_weights='truncated'),
    'clipped_critic': ReplayConfig(
        update_epochs=4, importance_weights='clipped', baseline='critic'
    ),
}
