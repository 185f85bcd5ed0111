"""
Learners that use a sample more than once: the paper throws each away after one step.

Letters: ``M`` samples, ``F`` features, ``K`` tokens.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, KW_ONLY

from efm_core.config import config, parameter
from efm_core.episode import Episode
from efm_experiments.learners.base import Descent, ordered
from efm_model.network import FEATURES, log_probability
from efm_trainer.losses import clipped
import numpy as np
import torch
from torch import nn

LESSONS = 40  # steps of the critic per update
CRITIC_RATE = 3e-3


@config
class Reuse:
    """How often a sample may teach, and how far."""

    update_epochs: int = parameter(1, 'Over everything that is kept, per update', '', 1, 100)
    memory: int = parameter(1, 'Updates whose episodes are kept', '', 1, 1000)
    guard: str = parameter(
        'none', 'On the importance weight', choices=('none', 'truncated', 'clipped')
    )
    cap: float = parameter(1.0, 'Largest importance weight (truncated)', '', 0.0, 1e3)
    clip_range: float = parameter(0.2, 'How far a weight may go from 1 (clipped)', '', 0.0, 1.0)
    baseline: str = parameter('none', 'Taken from the returns', choices=('none', 'critic'))


@dataclass(frozen=True)
class Kept:
    """
    Samples as they were acted.

    :param features: ``(M, F)``; ``tokens`` ``(M, K)``.
    :param returns: ``(M,)`` float32 [steps]; ``steps_to_go`` d of the same observations.
    :param before: log p of the policy that acted, ``(M,)`` float32.
    """

    features: torch.Tensor
    tokens: torch.Tensor
    _: KW_ONLY
    returns: torch.Tensor
    steps_to_go: torch.Tensor
    before: torch.Tensor

    def __len__(self) -> int:
        return len(self.before)


def joined(kept: list[Kept]) -> Kept:
    """Return several updates' samples as one."""
    return Kept(
        **{
            field.name: torch.cat([getattr(one, field.name) for one in kept])
            for field in fields(Kept)
        }
    )


class Reusing(Descent):
    """REINFORCE on the paper's returns, in several passes or with older episodes again."""

    def __init__(self, *arguments, reuse: Reuse, **words):
        super().__init__(*arguments, **words)
        self._reuse = reuse
        self._memory = deque(maxlen=reuse.memory)
        self._critic = Critic() if reuse.baseline == 'critic' else None

    def update(self, episodes: list[Episode]) -> dict[str, float]:
        """Learn from ``episodes`` and from those that are kept; the figures are of the last."""
        self._memory.append(self.keep([episode for episode in episodes if len(episode)]))
        kept = joined(list(self._memory))
        advantages = kept.returns - self.expected(kept)
        for _ in range(self._reuse.update_epochs):
            order = torch.randperm(len(kept), generator=self.generator)
            steps = [
                self._learn(kept, advantages, chosen)
                for chosen in order.split(self._config.batch_size)
            ]
        return {**steps[-1], 'samples': len(kept)}

    def keep(self, episodes: list[Episode]) -> Kept:
        """Return what learning needs of ``episodes``."""
        batch = self.prepare(episodes)
        rows = batch.indices
        return Kept(
            batch.features[rows],
            batch.episodes.tokens[rows],
            returns=batch.returns,
            steps_to_go=batch.steps_to_go[rows],
            before=torch.from_numpy(np.concatenate([e.log_probs for e in ordered(episodes)])),
        )

    def expected(self, kept: Kept) -> torch.Tensor:
        """Return the baseline, ``(M,)`` [steps]: a function of what was seen, not of the act."""
        return self._critic.expected(kept) if self._critic else torch.zeros(len(kept))

    def _learn(
        self, kept: Kept, advantages: torch.Tensor, chosen: torch.Tensor
    ) -> dict[str, float]:
        """Take one optimiser step on the samples ``chosen``."""
        tokens = kept.tokens[chosen]
        logits = self.policy.policy_logits(kept.features[chosen], tokens)
        now = log_probability(logits, tokens)
        advantage = advantages[chosen]
        ratio = (now - kept.before[chosen]).exp()
        if self._reuse.guard == 'clipped':
            worth = clipped(ratio, advantage, self._reuse.clip_range)
        elif self._reuse.guard == 'truncated':
            worth = truncated(ratio, self._reuse.cap) * advantage * now
        else:
            worth = advantage * now
        loss = -self._config.return_scale * worth.mean()
        figures = self._descend(loss, loss, logits)
        weights = ratio.detach()
        share = (weights.sum() ** 2 / weights.square().sum() / len(weights)).item()
        return {**figures, 'effective_share': share}


class Critic:
    """A small network that learns to expect the returns."""

    def __init__(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._network = nn.Sequential(
                nn.Linear(FEATURES + 1, 64),
                nn.ReLU(),
                nn.Linear(64, 64),
                nn.ReLU(),
                nn.Linear(64, 1),
            )
        self._teacher = torch.optim.AdamW(self._network.parameters(), lr=CRITIC_RATE)

    def expected(self, kept: Kept) -> torch.Tensor:
        """Return what was expected before these returns are learned from, ``(M,)`` [steps]."""
        seen = torch.cat([kept.features, kept.steps_to_go[:, None] / 10], dim=1)
        with torch.no_grad():
            found = self._network(seen)[:, 0]
        for _ in range(LESSONS):
            loss = nn.functional.mse_loss(self._network(seen)[:, 0], kept.returns)
            self._teacher.zero_grad()
            loss.backward()
            self._teacher.step()
        return found


def truncated(ratio: torch.Tensor, cap: float) -> torch.Tensor:
    """Return min(ratio, cap) as a plain weight: no gradient goes through it."""
    return ratio.detach().clamp(max=cap)


# What a setting's learner may be called.
REUSES = {
    'replay': Reuse(memory=4, guard='truncated'),
    'clipped_critic': Reuse(update_epochs=4, guard='clipped', baseline='critic'),
}
