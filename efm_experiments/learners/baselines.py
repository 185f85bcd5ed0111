"""
Learners of stage 2 beside the paper's: the controls, each on the same episodes and networks.

Letters: ``M`` samples, ``N`` observations, ``K`` tokens.
"""

from __future__ import annotations

from dataclasses import replace

from efm_core.episode import Episode, Termination
from efm_experiments.config import OFTEN, Setting, text_encoder
from efm_experiments.learners.base import Descent, ordered
from efm_experiments.learners.regularised import Anchored, Averaged, SHARE
from efm_experiments.learners.sample_reuse import REUSES, Reusing
from efm_model.network import CompactModel, FEATURES, log_probability
from efm_reward.reward import returns, rewards
from efm_trainer.losses import clipped
from efm_trainer.reinforce import Reinforce, UpdateBatch
import numpy as np
import torch
from torch import nn

BONUS = 10.0  # a sparse success is worth about what steps-to-go falls within gamma's horizon
CLIP = 0.2  # of PPO and GRPO
PASSES = 4  # over each batch, with clipping
LAMBDA = 0.95  # of generalised advantages


class Pessimist(nn.Module):
    """Several reward models as one; for each observation the one counts that sees most to do."""

    def __init__(self, members: list[CompactModel]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.config = members[0].config
        self.grounding = members[0].grounding
        self.eval()

    def encode_frames(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the encoder sees that all share; it is frozen."""
        return self.members[0].encode_frames(frames)

    def ground(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        return self.members[0].ground(*inputs)

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of the member with the largest mean, ``(B, bins)``."""
        logits = torch.stack([member.steps_to_go_logits(features) for member in self.members])
        bins = torch.arange(logits.shape[-1], dtype=logits.dtype)
        worst = (torch.softmax(logits, dim=-1) @ bins).argmax(dim=0)
        return logits[worst, torch.arange(logits.shape[1])]


class SparseTruth(Reinforce):
    """REINFORCE on the simulator's own word, once, at the end: the usual way, not self-made."""

    def prepare(self, episodes: list[Episode]) -> UpdateBatch:
        """Return the episodes, rewarded at their last action only."""
        batch = super().prepare(episodes)
        found = [
            returns(self.rewards(episode), self._config.gamma) for episode in ordered(episodes)
        ]
        return replace(batch, returns=torch.from_numpy(np.concatenate(found)))

    def rewards(self, episode: Episode) -> np.ndarray:
        """Return the reward of every action, ``(T,)``."""
        rewards = np.zeros(len(episode), np.float32)
        rewards[-1] = BONUS * self.has_succeeded(episode)
        return rewards

    def has_succeeded(self, episode: Episode) -> bool:
        """Return whether the last observation shows a success."""
        return bool(episode.true_success)


class Charged(SparseTruth):
    """The paper's rewards, but an attempt that ends undetected has gained nothing by its end."""

    def rewards(self, episode: Episode) -> np.ndarray:
        """Return the reward of every action, ``(T,)`` [steps]."""
        return charged(episode.steps_to_go, episode.termination is Termination.SUCCESS_DETECTED)


def charged(steps_to_go: np.ndarray, is_detected: bool) -> np.ndarray:
    """
    Return rewards whose sum is -d(last) where the robot's own detector saw no success.

    :param steps_to_go: d of every observation, ``(T + 1,)`` [steps].
    """
    found = rewards(steps_to_go)
    found[-1] -= 0 if is_detected else steps_to_go[0]
    return found


class SparseDetector(SparseTruth):
    """REINFORCE on the learned detector's word, once, at the end."""

    def has_succeeded(self, episode: Episode) -> bool:
        """Return whether the detector ended the episode."""
        return episode.termination is Termination.SUCCESS_DETECTED


class FilteredCloning(SparseDetector):
    """Behaviour cloning on those own episodes that the detector ended, all actions alike."""

    def rewards(self, episode: Episode) -> np.ndarray:
        """Return rewards whose returns are the same for every action."""
        worth = BONUS * self.has_succeeded(episode)
        rewards = np.full(len(episode), (1 - self._config.gamma) * worth, np.float32)
        rewards[-1] = worth
        return rewards


class Clipped(Descent):
    """Several passes over each batch, with PPO's clip on how far the policy may go."""

    def prepare(self, episodes: list[Episode]) -> UpdateBatch:
        """Return the episodes with standardised advantages where returns were."""
        batch = super().prepare(episodes)
        self._before = torch.from_numpy(np.concatenate([e.log_probs for e in ordered(episodes)]))
        advantages = self.advantages(batch, ordered(episodes))
        spread = advantages.std(correction=0) + 1e-6
        return replace(batch, returns=(advantages - advantages.mean()) / spread)

    def advantages(self, batch: UpdateBatch, episodes: list[Episode]) -> torch.Tensor:
        """Return how much better each action was than expected, ``(M,)``."""
        raise NotImplementedError

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """Learn from ``episodes`` in several passes; the figures are those of the last."""
        usable = [episode for episode in episodes if len(episode)]
        batch = self.prepare(usable)
        for _ in range(PASSES):
            order = torch.randperm(len(batch.indices), generator=self.generator)
            steps = [self._step(batch, chosen) for chosen in order.split(self._config.batch_size)]
        return {**steps[-1], 'samples': len(batch.indices)}

    def _step(self, batch: UpdateBatch, chosen: torch.Tensor) -> dict[str, float]:
        rows = batch.indices[chosen]
        tokens = batch.episodes.tokens[rows]
        advantages = batch.returns[chosen]
        logits = self.policy.policy_logits(batch.features[rows], tokens)
        ratio = (log_probability(logits, tokens) - self._before[chosen]).exp()
        loss = -clipped(ratio, advantages, CLIP).mean()
        return self._descend(loss, loss, logits)


class Grpo(Clipped):
    """Group-relative: whether the detector ended this attempt, against others at this scene."""

    def advantages(self, batch: UpdateBatch, episodes: list[Episode]) -> torch.Tensor:
        """Return, for every action, its episode's success against its group's mean."""
        said = np.array([e.termination is Termination.SUCCESS_DETECTED for e in episodes], float)
        groups = np.array([hash(episode.observations[0].tobytes()) for episode in episodes])
        means = {group: said[groups == group].mean() for group in set(groups)}
        away = said - [means[group] for group in groups]
        lengths = [len(episode) for episode in episodes]
        return torch.from_numpy(np.repeat(away, lengths).astype(np.float32))


class Ppo(Clipped):
    """PPO on the decrease of steps-to-go, with a learned critic."""

    def __init__(self, *arguments, **words):
        super().__init__(*arguments, **words)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.critic = nn.Sequential(
                nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
            )
        self._teacher = torch.optim.AdamW(self.critic.parameters(), lr=3e-3)

    def advantages(self, batch: UpdateBatch, episodes: list[Episode]) -> torch.Tensor:
        """Return generalised advantages, and teach the critic the returns."""
        with torch.no_grad():
            values = self.critic(batch.features)[:, 0]
        d = batch.steps_to_go
        lengths = [len(episode) + 1 for episode in episodes]
        pairs = zip(d.split(lengths), values.split(lengths), strict=True)
        found = torch.cat([generalised(d, v, self._config.gamma) for d, v in pairs])
        self.teach(batch)
        return found

    def teach(self, batch: UpdateBatch) -> None:
        """Fit the critic to the returns of this batch."""
        for _ in range(10 * PASSES):
            values = self.critic(batch.features[batch.indices])[:, 0]
            loss = nn.functional.mse_loss(values, batch.returns)
            self._teacher.zero_grad()
            loss.backward()
            self._teacher.step()


def generalised(d: torch.Tensor, values: torch.Tensor, gamma: float) -> torch.Tensor:
    """
    Return generalised advantages of the rewards d_t - d_t+1, ``(T,)``.

    Nothing follows the last observation, as in the returns.

    :param d: steps-to-go, ``(T + 1,)``; ``values`` the critic's.
    """
    after = torch.cat([values[1:-1], torch.zeros(1)])
    surprise = d[:-1] - d[1:] + gamma * after - values[:-1]
    return torch.from_numpy(returns(surprise.numpy(), gamma * LAMBDA))


CONTROLS = {
    **dict.fromkeys(('reinforce', *OFTEN), Reinforce),
    'charged': Charged,
    'sparse_truth': SparseTruth,
    'sparse_detector': SparseDetector,
    'filtered_cloning': FilteredCloning,
    'grpo': Grpo,
    'ppo': Ppo,
}


def make_learner(setting: Setting, policy: CompactModel, reward: nn.Module) -> Reinforce:
    """
    Return the learner that a setting asks for.

    :raises ValueError: when samples are to be used again that were not drawn at temperature 1:
        their log-probabilities are not those of what acted.
    """
    name = setting.learner
    others = {
        'text_encoder': text_encoder(),
        'scale': setting.embodiment.steps_to_go,
        'config': setting.practice_config,
    }
    if name in (*REUSES, *OFTEN) and setting.temperature != 1:
        raise ValueError(f'temperature: expected 1 for {name}, got {setting.temperature}')
    if name in REUSES:
        return Reusing(policy, reward, reuse=REUSES[name], **others)
    if name == 'averaged':
        return Averaged(policy, reward, share=SHARE, **others)
    if name == 'anchored':
        return Anchored(policy, reward, weight=setting.anchor, **others)
    return CONTROLS[name](policy, reward, **others)
