"""
A reward model with one more bin for failure, and the labels that train it.

The failure bin means that the goal is not reached from the observation. Negatives made from
demonstrations are an idea of ReWiND (Zhang et al. 2025, arXiv:2505.10911). Letters: ``N``
observations, ``F`` features, ``C`` steps-to-go bins of the embodiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode, Termination
from efm_experiments.config import text_encoder
from efm_experiments.learners.base import WrappedReward
from efm_model.network import FEATURES, GroundingModel
from efm_trainer.dataset import (
    compute_all_features,
    compute_features,
    EpisodeBatch,
    to_batch,
    to_bins,
)
from efm_trainer.losses import smooth_targets
import torch
from torch import nn

MOTION = slice(16, 22)  # the features of the motion of effector, source and target
NEAR_END = 10  # last observations of a demonstration that become negatives under another goal
UNLABELLED_STEPS = 5  # last steps before a detected success; their labels would be circular
LABEL_SMOOTHING_BINS = 0.5  # as in stage 1
BATCH_SIZE = 256


@dataclass(frozen=True)
class LabelledFeatures:
    """
    Features of observations with their labels.

    :param features: ``(N, F)`` float32.
    :param bins: ``(N,)`` int64 from 0 to ``C - 1``; ``C`` is the failure bin.
    """

    features: torch.Tensor
    bins: torch.Tensor


class FailureAwareReward(WrappedReward):
    """
    A steps-to-go head with a failure bin that counts as the largest number of steps.

    The probability of the failure bin is added to the last bin. Reward and detector therefore
    treat it as any other reward model.
    """

    def __init__(self, base: GroundingModel):
        """Start from the head of ``base``, with a small probability of failure."""
        super().__init__(base)
        self.trunk = deepcopy(base.trunk).requires_grad_(True)
        bins, hidden = base.steps_to_go.weight.shape
        self.out = nn.Linear(hidden, bins + 1)
        with torch.no_grad():
            self.out.weight.copy_(nn.functional.pad(base.steps_to_go.weight, (0, 0, 0, 1)))
            self.out.bias.copy_(nn.functional.pad(base.steps_to_go.bias, (0, 1), value=-4.0))
        self.eval()

    def all_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of every bin, the failure bin last, ``(N, C + 1)``."""
        return self.out(self.trunk(features))

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of the embodiment's bins, ``(N, C)``."""
        logits = self.all_logits(features)
        last = torch.logaddexp(logits[:, -2], logits[:, -1])
        return torch.cat([logits[:, :-2], last[:, None]], dim=1)


def train_head(
    model: FailureAwareReward,
    parts: Sequence[tuple[LabelledFeatures, float]],
    iterations: int,
    seed: int,
) -> None:
    """
    Train the trunk and the output layer of ``model``.

    :param parts: labelled features, each with its fraction of every batch.
    :param iterations: optimiser steps.
    :param seed: of the batches and of dropout.
    """
    parts = [(part, share) for part, share in parts if len(part.bins)]
    learned = [*model.trunk.parameters(), *model.out.parameters()]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(learned, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=iterations)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for dropout
        model.trunk.train()
        for _ in range(iterations):
            drawn = [
                draw_samples(part, round(share * BATCH_SIZE), generator) for part, share in parts
            ]
            logits = model.all_logits(torch.cat([part.features for part in drawn]))
            loss = failure_aware_loss(logits, torch.cat([part.bins for part in drawn]))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            schedule.step()
    model.eval().requires_grad_(False)


def draw_samples(
    labelled: LabelledFeatures, count: int, generator: torch.Generator
) -> LabelledFeatures:
    """Return ``count`` samples, drawn uniformly with replacement."""
    rows = torch.randint(len(labelled.bins), (count,), generator=generator)
    return LabelledFeatures(labelled.features[rows], labelled.bins[rows])


def failure_aware_loss(logits: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """
    Return the mean cross-entropy [nats]; steps-to-go targets are smoothed, failure is not.

    :param logits: ``(N, C + 1)``.
    :param bins: as in ``LabelledFeatures``.
    """
    failure = logits.shape[-1] - 1
    smooth = smooth_targets(bins.clamp(max=failure - 1), failure, LABEL_SMOOTHING_BINS)
    targets = nn.functional.pad(smooth, (0, 1))
    targets[bins == failure] = nn.functional.one_hot(torch.tensor(failure)).to(targets.dtype)
    return nn.functional.cross_entropy(logits, targets)


def without_motion(features: torch.Tensor) -> torch.Tensor:
    """Return the features, ``(N, F)``, of the same observations with all motion set to zero."""
    still = features.clone()
    still[:, MOTION] = 0
    return still


def time_reversed(features: torch.Tensor) -> torch.Tensor:
    """Return the features of one episode in reverse, ``(T, F)``, without the last observation."""
    back = features[:-1].clone()
    back[:, MOTION] = -features[1:, MOTION]
    return back


def label_demonstrations(
    features: torch.Tensor, samples: EpisodeBatch, scale: StepsToGoRange
) -> LabelledFeatures:
    """
    Return demonstrations in forward and reverse motion and without motion.

    Steps-to-go does not depend on the motion. The model then cannot use motion alone as a cue, and
    a robot that waits at its goal keeps a small d.

    :param features: ``(N, F)`` of all observations in ``samples``.
    """
    bins = to_bins(samples.steps_to_go, scale)
    ends = zip(samples.first, samples.last, strict=True)
    back = torch.cat([time_reversed(features[first : last + 1]) for first, last in ends])
    return LabelledFeatures(
        torch.cat([features, without_motion(features), back]),
        torch.cat([bins, bins, bins[samples.has_action]]),
    )


def label_mismatched_goals(
    model: GroundingModel, samples: EpisodeBatch, scale: StepsToGoRange, seed: int
) -> LabelledFeatures:
    """
    Return the ends of demonstrations under the instruction of another one, labelled as failure.

    A few of these goals hold by accident. Only the simulator could tell which.
    """
    generator = torch.Generator().manual_seed(seed)
    offset = 1 + torch.randint(
        len(samples.sentence) - 1, samples.sentence.shape, generator=generator
    )
    other = samples.sentence[(torch.arange(len(offset)) + offset) % len(offset)]
    wrong = replace(samples, sentence=other)
    of_episode = wrong.episode
    rows = (samples.steps_to_go <= NEAR_END) & (other != samples.sentence)[of_episode]
    with torch.no_grad():
        found = [compute_features(model, wrong, part) for part in rows.nonzero()[:, 0].split(64)]
    features = torch.cat(found) if found else torch.zeros(0, FEATURES)
    return LabelledFeatures(features, torch.full((len(features),), scale.bins))


def label_practice(
    model: GroundingModel, episodes: list[Episode], scale: StepsToGoRange, threshold: float
) -> LabelledFeatures:
    """
    Return practice episodes with labels that need no simulator.

    A time-out is labelled as failure, except observations with d <= ``threshold`` [steps]. A
    detected success is labelled with its steps-to-go, except for its last steps.
    """
    samples = to_batch(episodes, text_encoder())
    late = torch.tensor([e.termination is Termination.TIMEOUT for e in episodes])[samples.episode]
    d = torch.cat([torch.from_numpy(e.steps_to_go) for e in episodes])
    bins = torch.where(late, scale.bins, to_bins(samples.steps_to_go, scale))
    labelled = torch.where(late, d > threshold, samples.steps_to_go >= UNLABELLED_STEPS)
    return LabelledFeatures(compute_all_features(model, samples)[labelled], bins[labelled])
