"""
The success detector on held-out demonstrations, before any practice.

Success-only demonstrations end at the goal. So they show whether the detector fires there, and
whether it fires before. They do not show what it does in attempts that fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, KW_ONLY, replace
from typing import Any

from efm_core.episode_rules import EpisodeRules, first_detection
import numpy as np

THRESHOLDS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)  # [steps]


@dataclass(frozen=True)
class HeldOut:
    """
    One held-out demonstration.

    :param steps_to_go: d of each observation, ``(T + 1,)`` [steps].
    :param left: true number of decisions until the goal, ``(T + 1,)`` [steps].
    """

    steps_to_go: np.ndarray
    left: np.ndarray


@dataclass(frozen=True)
class DetectorFigures:
    """
    What the detector does with one threshold.

    :param threshold: s [steps].
    :param fired: number of demonstrations in which it fired.
    :param right: number of them in which it fired at the goal, as *self-stopped* success
        asks for; one step before is wrong.
    """

    threshold: float
    _: KW_ONLY
    demonstrations: int
    fired: int
    right: int

    @property
    def precision(self) -> float:
        """The part of the detections that are right; 1 without any."""
        return self.right / self.fired if self.fired else 1.0

    @property
    def recall(self) -> float:
        """The part of the demonstrations whose goal is detected."""
        return self.right / self.demonstrations

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / (self.fired + self.demonstrations)

    def to_plain(self) -> dict[str, Any]:
        """Return all figures as JSON has them."""
        return {**asdict(self), 'precision': self.precision, 'recall': self.recall}


def examine(
    demonstrations: Sequence[HeldOut],
    rules: EpisodeRules,
    thresholds: Iterable[float] = THRESHOLDS,
) -> list[DetectorFigures]:
    """Return the figures of each threshold, and of that of ``rules``, in increasing order."""
    wanted = sorted({*thresholds, rules.success_threshold})
    return [_figures(demonstrations, replace(rules, success_threshold=s)) for s in wanted]


def propose(figures: Iterable[DetectorFigures]) -> DetectorFigures:
    """Return the figures with the largest F1; of equal ones those with the smallest threshold."""
    return max(figures, key=lambda found: (found.f1, -found.threshold))


def _figures(demonstrations: Sequence[HeldOut], rules: EpisodeRules) -> DetectorFigures:
    fired = [(first_detection(one.steps_to_go, rules), one.left) for one in demonstrations]
    left = [float(steps[at]) for at, steps in fired if at is not None]
    return DetectorFigures(
        rules.success_threshold,
        demonstrations=len(demonstrations),
        fired=len(left),
        right=sum(steps <= 0 for steps in left),
    )
