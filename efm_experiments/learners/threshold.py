"""Choice of the detector's threshold s and dwell from demonstrations, without a simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, KW_ONLY

from efm_core.embodiment import StepsToGoRange
from efm_core.episode_rules import EpisodeRules, first_detection
from efm_experiments.learners.failure_aware import LabelledFeatures, without_motion
from efm_model.network import GroundingModel
from efm_trainer.dataset import EpisodeBatch
from efm_trainer.prediction import expected_steps_to_go
import numpy as np
import torch

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)  # [steps]
DWELLS = (1, 2, 3)
DWELL_OBSERVATIONS = max(DWELLS) - 1  # observations that are appended at the goal


@dataclass(frozen=True)
class HeldOutDemonstrations:
    """
    Demonstrations that no model was trained on, which dwell at their goals.

    :param features: ``(N, F)`` float32.
    :param lengths: observations of each episode.
    :param dwell: last observations of each episode, after the goal was reached.
    """

    features: torch.Tensor
    lengths: tuple[int, ...]
    _: KW_ONLY
    dwell: int = DWELL_OBSERVATIONS


@dataclass(frozen=True, kw_only=True)
class DetectorChoice:
    """
    A detector with its rates on held-out demonstrations.

    :param threshold: s [steps].
    :param dwell: consecutive observations with d <= s.
    :param false: rate of false alarms.
    :param recall: rate of demonstrations that are detected at the goal.
    """

    threshold: float
    dwell: int
    false: float
    recall: float


def add_goal_dwell(features: torch.Tensor, samples: EpisodeBatch) -> HeldOutDemonstrations:
    """Return held-out demonstrations, ``features`` ``(N, F)``, with a dwell at their ends."""
    parts = []
    for first, last in zip(samples.first, samples.last, strict=True):
        still = without_motion(features[last : last + 1]).expand(DWELL_OBSERVATIONS, -1)
        parts += [features[first : last + 1], still]
    lengths = (samples.last - samples.first + 1 + DWELL_OBSERVATIONS).tolist()
    return HeldOutDemonstrations(torch.cat(parts), tuple(lengths))


def choose_detector(
    reward_model: GroundingModel,
    held_out: HeldOutDemonstrations,
    mismatched: LabelledFeatures,
    scale: StepsToGoRange,
    max_false_rate: float,
) -> DetectorChoice:
    """
    Return the threshold and dwell with the highest recall at few false alarms.

    A demonstration ends when its goal is reached. An alarm before that, or under another
    instruction, is false.

    :param mismatched: ends of demonstrations under another instruction.
    :param max_false_rate: largest permitted rate of false alarms.
    """
    d = expected_steps_to_go(reward_model, held_out.features, scale).numpy()
    episodes = np.split(d, np.cumsum(held_out.lengths)[:-1])
    other = expected_steps_to_go(reward_model, mismatched.features, scale).numpy()
    found = [
        alarm_rates(episodes, other, threshold, dwell, held_out.dwell)
        for dwell in DWELLS
        for threshold in THRESHOLDS
    ]
    allowed = [choice for choice in found if choice.false <= max_false_rate]
    if not allowed:
        return min(found, key=lambda choice: (choice.false, -choice.recall))
    return max(allowed, key=lambda choice: (choice.recall, -choice.false))


def alarm_rates(
    episodes: Sequence[np.ndarray],
    other: np.ndarray,
    threshold: float,
    dwell: int,
    goal_observations: int,
) -> DetectorChoice:
    """
    Return a detector with its rates.

    :param episodes: d of each held-out demonstration [steps].
    :param other: d under another instruction, ``(N,)`` [steps].
    :param goal_observations: last observations of each demonstration, at the goal.
    """
    rules = EpisodeRules(success_threshold=threshold, success_dwell=dwell)
    first = [first_detection(d, rules) for d in episodes]
    ends = [len(d) - 1 - goal_observations for d in episodes]
    early = np.mean([at is not None and at < end for at, end in zip(first, ends, strict=True)])
    seen = np.mean([at is not None and at >= end for at, end in zip(first, ends, strict=True)])
    wrong = np.mean(other <= threshold) if len(other) else 0.0
    return DetectorChoice(
        threshold=threshold, dwell=dwell, false=float(max(early, wrong)), recall=float(seen)
    )
