"""Which s and dwell to trust, from demonstrations alone: no simulator truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, KW_ONLY

from efm_core.episode_rules import EpisodeRules, first_detection
from efm_experiments.learners.failure_aware import at_rest, Lessons
from efm_trainer.dataset import EpisodeBatch
from efm_trainer.reinforce import expected_steps_to_go
import numpy as np
import torch
from torch import nn

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)  # [steps]
DWELLS = (1, 2, 3)
WAIT = max(DWELLS) - 1  # observations for which the robot stays at the goal


@dataclass(frozen=True)
class HeldOut:
    """
    Demonstrations that nothing was trained on, which stay at their goals for a moment.

    :param features: ``(N, F)`` float32, ``lengths`` of the episodes in observations; those that
        stay are the last ``wait`` of each.
    """

    features: torch.Tensor
    lengths: tuple[int, ...]
    _: KW_ONLY
    wait: int = WAIT


def held_out(features: torch.Tensor, samples: EpisodeBatch) -> HeldOut:
    """Return fresh demonstrations, ``features`` ``(N, F)``, with the wait at their ends."""
    parts = []
    for first, last in zip(samples.first, samples.last, strict=True):
        still = at_rest(features[last : last + 1]).expand(WAIT, -1)
        parts += [features[first : last + 1], still]
    lengths = (samples.last - samples.first + 1 + WAIT).tolist()
    return HeldOut(torch.cat(parts), tuple(lengths))


def choose(reward: nn.Module, fresh: HeldOut, wrong: Lessons, scale, most: float) -> dict:
    """
    Return the s and dwell that see most of the held-out successes at few false alarms.

    A demonstration ends when its goal is reached: before its last observation, and under another
    instruction, every alarm is false. Their rate is not to be above ``most``.
    """
    d = expected_steps_to_go(reward, fresh.features, scale).numpy()
    episodes = np.split(d, np.cumsum(fresh.lengths)[:-1])
    other = expected_steps_to_go(reward, wrong.features, scale).numpy()
    found = [
        {'threshold': s, 'dwell': n, **alarms(episodes, other, s, n, fresh.wait)}
        for n in DWELLS
        for s in THRESHOLDS
    ]
    allowed = [one for one in found if one['false'] <= most]
    if not allowed:
        return min(found, key=lambda one: (one['false'], -one['seen']))
    return max(allowed, key=lambda one: (one['seen'], -one['false']))


def alarms(
    episodes: Sequence[np.ndarray], other: np.ndarray, threshold: float, dwell: int, wait: int
) -> dict[str, float]:
    """Return the shares of held-out demonstrations seen at the goal, and of false alarms."""
    rules = EpisodeRules(success_threshold=threshold, success_dwell=dwell)
    first = [first_detection(d, rules) for d in episodes]
    ends = [len(d) - 1 - wait for d in episodes]
    early = np.mean([at is not None and at < end for at, end in zip(first, ends, strict=True)])
    seen = np.mean([at is not None and at >= end for at, end in zip(first, ends, strict=True)])
    wrong = np.mean(other <= threshold) if len(other) else 0.0
    return {'false': float(max(early, wrong)), 'seen': float(seen)}
