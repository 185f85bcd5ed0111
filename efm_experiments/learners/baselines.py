"""
Learners of stage 2 to compare with the paper's, on the same episodes and networks.

Letters: ``M`` samples, ``N`` observations, ``K`` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from efm_core.episode import Episode, Termination
from efm_experiments.config import ExperimentConfig, MULTI_EPOCH, text_encoder
from efm_experiments.learners.base import (
    frozen_features,
    SharedEncoderLearner,
    sort_episodes,
    WrappedReward,
)
from efm_experiments.learners.regularised import EMA_RATE, EmaLearner, KlRegularised
from efm_experiments.learners.sample_reuse import REPLAY_CONFIGS, ReplayLearner
from efm_model.network import FEATURES, GroundingModel, log_probability
from efm_reward.reward import returns, rewards
from efm_trainer.losses import clipped
from efm_trainer.reinforce import Reinforce, UpdateBatch
import numpy as np
import torch
from torch import nn

SUCCESS_REWARD = 10.0  # about the decrease of steps-to-go within the horizon of gamma 0.9 [steps]
CLIP_RANGE = 0.2  # of PPO and GRPO
EPOCHS = 4  # over each batch, in the learners with a clipped objective
GAE_LAMBDA = 0.95  # of generalised advantage estimation


class RewardEnsemble(WrappedReward):
    """Several reward models; each observation takes the member with the largest mean d."""

    def __init__(self, members: Sequence[GroundingModel | WrappedReward]):
        first = members[0]
        super().__init__(first.base if isinstance(first, WrappedReward) else first)
        self.members = nn.ModuleList(members)
        self.eval()

    def member_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of all members, ``(members, N, C)``."""
        members = cast(Sequence[GroundingModel], self.members)
        return torch.stack([member.steps_to_go_logits(features) for member in members])

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of the member with the largest mean, ``(N, C)``."""
        logits = self.member_logits(features)
        bins = torch.arange(logits.shape[-1], dtype=logits.dtype)
        largest = (torch.softmax(logits, dim=-1) @ bins).argmax(dim=0)
        return logits[largest, torch.arange(logits.shape[1])]


class SparseOracleReward(Reinforce):
    """REINFORCE with the simulator's success as the reward of the last action."""

    def rewards(self, episode: Episode, steps_to_go: np.ndarray) -> np.ndarray:
        """Return the reward of every action, ``(T,)`` float32 [steps]."""
        rewards = np.zeros(len(episode), np.float32)
        rewards[-1] = SUCCESS_REWARD * self.has_succeeded(episode)
        return rewards

    def has_succeeded(self, episode: Episode) -> bool:
        """Return whether the goal holds at the last observation, by the simulator."""
        return bool(episode.true_success)


class TimeoutPenalty(SparseOracleReward):
    """The paper's reward, reduced at the last action of an episode without a detected success."""

    def rewards(self, episode: Episode, steps_to_go: np.ndarray) -> np.ndarray:
        """Return the reward of every action, ``(T,)`` float32 [steps]."""
        is_detected = episode.termination is Termination.SUCCESS_DETECTED
        return timeout_penalty_rewards(steps_to_go, is_detected)


def timeout_penalty_rewards(steps_to_go: np.ndarray, is_detected: bool) -> np.ndarray:
    """
    Return rewards, ``(T,)`` [steps]; without a detected success their sum is -d(last).

    :param steps_to_go: d of every observation, ``(T + 1,)`` [steps].
    """
    found = rewards(steps_to_go)
    found[-1] -= 0 if is_detected else steps_to_go[0]
    return found


class SparseDetectorReward(SparseOracleReward):
    """REINFORCE with a detected success as the reward of the last action."""

    def has_succeeded(self, episode: Episode) -> bool:
        """Return whether the success detector ended the episode."""
        return episode.termination is Termination.SUCCESS_DETECTED


class FilteredCloning(SparseDetectorReward):
    """Behaviour cloning of the practice episodes that the success detector ended."""

    def rewards(self, episode: Episode, steps_to_go: np.ndarray) -> np.ndarray:
        """Return rewards, ``(T,)``, whose returns are the same for every action."""
        worth = SUCCESS_REWARD * self.has_succeeded(episode)
        rewards = np.full(len(episode), (1 - self._config.gamma) * worth, np.float32)
        rewards[-1] = worth
        return rewards


class ClippedLearner(SharedEncoderLearner):
    """PPO's clipped objective, with several epochs over each batch."""

    def prepare(self, episodes: list[Episode]) -> UpdateBatch:
        """Return the episodes with standardised advantages."""
        batch = super().prepare(episodes)
        advantages = self.advantages(batch, sort_episodes(episodes))
        spread = advantages.std(correction=0) + 1e-6
        return replace(batch, advantages=(advantages - advantages.mean()) / spread)

    def advantages(self, batch: UpdateBatch, episodes: list[Episode]) -> torch.Tensor:
        """Return the advantage of each action, ``(M,)``."""
        raise NotImplementedError

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """Learn from ``episodes`` for several epochs; return the figures of the last step."""
        usable = [episode for episode in episodes if len(episode)]
        batch = self.prepare(usable)
        for _ in range(EPOCHS):
            order = torch.randperm(len(batch.indices), generator=self.generator)
            steps = [self._step(batch, chosen) for chosen in order.split(self._config.batch_size)]
        return {**steps[-1], 'samples': len(batch.indices)}

    def _step(self, batch: UpdateBatch, chosen: torch.Tensor) -> dict[str, float]:
        """Take one optimiser step on the samples ``chosen``."""
        rows = batch.indices[chosen]
        tokens = batch.episodes.tokens[rows]
        advantages = batch.advantages[chosen]
        logits = self.policy.policy_logits(frozen_features(batch)[rows], tokens)
        ratio = (log_probability(logits, tokens) - batch.log_probs[chosen]).exp()
        loss = -clipped(ratio, advantages, CLIP_RANGE).mean()
        return self._optimiser_step(loss, loss, logits)


class Grpo(ClippedLearner):
    """Group-relative advantages: detected success against other episodes at the same scene."""

    def advantages(self, batch: UpdateBatch, episodes: list[Episode]) -> torch.Tensor:
        """Return for each action its episode's success minus the mean of its group, ``(M,)``."""
        detected = np.array(
            [e.termination is Termination.SUCCESS_DETECTED for e in episodes], float
        )
        groups = np.array(
            [hash(episode.observations.images[0][0].tobytes()) for episode in episodes]
        )
        means = {group: detected[groups == group].mean() for group in set(groups)}
        difference = detected - [means[group] for group in groups]
        lengths = [len(episode) for episode in episodes]
        return torch.from_numpy(np.repeat(difference, lengths).astype(np.float32))


class Ppo(ClippedLearner):
    """PPO on the decrease of steps-to-go, with a learned critic."""

    def __init__(self, policy: GroundingModel, reward_model: GroundingModel, **options: Any):
        """Create the critic; arguments as ``Reinforce``."""
        super().__init__(policy, reward_model, **options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.critic = nn.Sequential(
                nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
            )
        self._critic_optimiser = torch.optim.AdamW(self.critic.parameters(), lr=3e-3)

    def advantages(self, batch: UpdateBatch, episodes: list[Episode]) -> torch.Tensor:
        """Return generalised advantages, ``(M,)``; then fit the critic to the returns."""
        with torch.no_grad():
            values = self.critic(frozen_features(batch))[:, 0]
        d = batch.steps_to_go
        lengths = [len(episode) + 1 for episode in episodes]
        pairs = zip(d.split(lengths), values.split(lengths), strict=True)
        found = torch.cat([generalised_advantages(d, v, self._config.gamma) for d, v in pairs])
        self.fit_critic(batch)
        return found

    def fit_critic(self, batch: UpdateBatch) -> None:
        """Fit the critic to the returns of this batch."""
        for _ in range(10 * EPOCHS):
            values = self.critic(frozen_features(batch)[batch.indices])[:, 0]
            loss = nn.functional.mse_loss(values, batch.returns)
            self._critic_optimiser.zero_grad()
            loss.backward()
            self._critic_optimiser.step()


def generalised_advantages(d: torch.Tensor, values: torch.Tensor, gamma: float) -> torch.Tensor:
    """
    Return the generalised advantages of the rewards d_t - d_t+1, ``(T,)`` [steps].

    The value after the last action is zero, as in the returns.

    :param d: steps-to-go of every observation, ``(T + 1,)`` [steps].
    :param values: the critic's values, ``(T + 1,)`` [steps].
    """
    after = torch.cat([values[1:-1], torch.zeros(1)])
    surprise = d[:-1] - d[1:] + gamma * after - values[:-1]
    return torch.from_numpy(returns(surprise.numpy(), gamma * GAE_LAMBDA))


LEARNER_CLASSES: dict[str, type[Reinforce]] = {
    **dict.fromkeys(('reinforce', *MULTI_EPOCH), Reinforce),
    'timeout_penalty': TimeoutPenalty,
    'sparse_oracle': SparseOracleReward,
    'sparse_detector': SparseDetectorReward,
    'filtered_cloning': FilteredCloning,
    'grpo': Grpo,
    'ppo': Ppo,
}


def make_learner(
    config: ExperimentConfig, policy: GroundingModel, reward_model: GroundingModel
) -> Reinforce:
    """
    Return the learner that a configuration names.

    :raises ValueError: when samples are to be reused but the temperature is not 1; the recorded
        log-probabilities are then not those of the deployed policy.
    """
    name = config.learner
    options: dict[str, Any] = {
        'text_encoder': text_encoder(),
        'scale': config.embodiment.steps_to_go,
        'config': config.practice_config,
    }
    if name in (*REPLAY_CONFIGS, *MULTI_EPOCH) and config.temperature != 1:
        raise ValueError(f'temperature: expected 1 for {name}, got {config.temperature}')
    if name in REPLAY_CONFIGS:
        return ReplayLearner(policy, reward_model, replay=REPLAY_CONFIGS[name], **options)
    if name == 'ema':
        return EmaLearner(policy, reward_model, ema_rate=EMA_RATE, **options)
    if name == 'kl_regularised':
        return KlRegularised(policy, reward_model, kl_weight=config.kl_weight, **options)
    return LEARNER_CLASSES[name](policy, reward_model, **options)
