"""A reward model that learns from demonstrations which dwell at their goals for some steps."""

from __future__ import annotations

from collections.abc import Sequence
import math

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode
from efm_experiments.learners.baselines import RewardEnsemble
from efm_experiments.learners.failure_aware import (
    FailureAwareReward,
    LabelledFeatures,
    train_head,
)
from efm_model.network import GroundingModel
from efm_trainer.dataset import to_bins
import numpy as np
import torch

HOLD_STEPS = 6  # steps for which a demonstration continues after its goal was reached
NUM_MEMBERS = 3  # of the ensemble
MEMBER_SEED_STRIDE = 1000  # between the seeds of two members


class MeanEnsemble(RewardEnsemble):
    """Several reward models; the prediction is the mean of their probabilities."""

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the mean probability, ``(N, C)``."""
        logits = self.member_logits(features)
        return logits.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))


def label_goal_dwell(
    features: torch.Tensor,
    episodes: Sequence[Episode],
    scale: StepsToGoRange,
    hold: int = HOLD_STEPS,
) -> LabelledFeatures:
    """
    Return demonstrations whose last ``hold`` steps have zero steps-to-go.

    The demonstrator reports the goal and then stays there, so that no simulator is needed.

    :param features: ``(N, F)`` of all observations of ``episodes``.
    """
    left = [np.maximum(len(e) - hold - np.arange(len(e) + 1.0), 0) for e in episodes]
    return LabelledFeatures(features, to_bins(torch.from_numpy(np.concatenate(left)), scale))


def train_goal_dwell_ensemble(
    base: GroundingModel, labelled: LabelledFeatures, iterations: int, seed: int
) -> MeanEnsemble:
    """Return an ensemble of newly initialised heads on the encoder of ``base``."""
    members = []
    for k in range(NUM_MEMBERS):
        member = FailureAwareReward(base)
        reset_parameters(member, seed + MEMBER_SEED_STRIDE * k)
        train_head(member, [(labelled, 1.0)], iterations, seed + MEMBER_SEED_STRIDE * k)
        members.append(member)
    return MeanEnsemble(members)


def reset_parameters(model: FailureAwareReward, seed: int) -> None:
    """Initialise the trunk and the output layer of ``model`` anew."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in (*model.trunk, model.out):
            if hasattr(part, 'reset_parameters'):
                part.reset_parameters()
