"""A reward model that knows goals from inside: its demonstrations stay there for a moment."""

from __future__ import annotations

from collections.abc import Sequence
import math

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode
from efm_experiments.learners.baselines import Pessimist
from efm_experiments.learners.failure_aware import Cautious, Lessons, teach
from efm_model.network import CompactModel
from efm_trainer.dataset import to_bins
import numpy as np
import torch

HOLD = 6  # steps for which a demonstration goes on after its goal was reached
MEMBERS = 3
ANOTHER = 1000  # between the seeds of two members


class Average(Pessimist):
    """Several reward models as one: the mean of their probabilities."""

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the mean probability, ``(B, bins)``."""
        said = [member.steps_to_go_logits(features) for member in self.members]
        return torch.stack(said).log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(said))


def stayed(
    features: torch.Tensor, episodes: Sequence[Episode], scale: StepsToGoRange, hold: int = HOLD
) -> Lessons:
    """
    Return demonstrations with no step to go from ``hold`` steps before their ends on.

    Whoever demonstrates says when the goal is reached, and stays; so this needs no simulator.

    :param features: ``(N, F)`` of all their observations.
    """
    left = [np.maximum(len(e) - hold - np.arange(len(e) + 1.0), 0) for e in episodes]
    return Lessons(features, to_bins(torch.from_numpy(np.concatenate(left)), scale))


def make_staying(plain: CompactModel, lessons: Lessons, iterations: int, seed: int) -> Average:
    """Return reward models that began anew, on the encoder of ``plain``, as one."""
    members = []
    for k in range(MEMBERS):
        member = Cautious(plain)
        begin_anew(member, seed + ANOTHER * k)
        teach(member, [(lessons, 1.0)], iterations, seed + ANOTHER * k)
        members.append(member)
    return Average(members)


def begin_anew(model: Cautious, seed: int) -> None:
    """Forget what trunk and bins know."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in (*model.trunk, model.out):
            if hasattr(part, 'reset_parameters'):
                part.reset_parameters()
