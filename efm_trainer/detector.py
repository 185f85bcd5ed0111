"""
The success detector on held-out episodes, before any practice.

Held-out demonstrations end at the goal. So they show whether the detector fires there, and whether
it fires before. They do not show what it does in attempts that fail: labelled attempts of the
robot do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, KW_ONLY, replace
import json
import math
from pathlib import Path
from typing import Any

from efm_core.episode_rules import EpisodeRules, first_detection
import numpy as np
import scipy  # it loads scipy.stats, which takes a second, at the first use

THRESHOLDS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)  # [steps]
# A small probability of "never" raises d, so that a useful s may be larger.
ATTEMPT_THRESHOLDS = (*THRESHOLDS, 8.0, 10.0, 12.0, 16.0, 20.0)
DWELLS = (2, 3)  # [observations]
LEVEL = 0.95  # of all intervals and bounds
MAX_FALSE_SUCCESS = 0.1  # fraction of the failed attempts that may count as successes
FILE = 'detector.json'
LABEL = (
    'Run attempts with `efm evaluate`, label them with `efm label` and train the reward model '
    'again with `efm train --fine-tuning NAME --reward-only`'
)


@dataclass(frozen=True)
class HeldOut:
    """
    One held-out demonstration or labelled attempt.

    :param steps_to_go: d of each observation, ``(T + 1,)`` [steps].
    :param reached_at: index of the first observation at the goal; None if it was never reached.
    """

    steps_to_go: np.ndarray
    reached_at: int | None

    def to_plain(self) -> dict[str, Any]:
        """Return the episode as JSON has it; d with three digits behind the point."""
        d = [round(float(value), 3) for value in self.steps_to_go]
        return {'steps_to_go': d, 'reached_at': self.reached_at}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> HeldOut:
        """Return the episode of the values that ``to_plain`` returned."""
        return cls(np.array(plain['steps_to_go']), plain['reached_at'])


@dataclass(frozen=True)
class DetectorFigures:
    """
    What the detector does with one threshold and one dwell.

    :param threshold: s [steps].
    :param dwell: consecutive observations on which d <= s must hold.
    :param episodes: number of episodes.
    :param reached: number of them that reached their goal.
    :param fired: number of episodes in which the detector fired.
    :param right: number of them in which it fired at the goal or later, as *self-stopped* success
        asks for; one step before is wrong.
    :param false_successes: number of episodes that never reached their goal and in which it fired.
    """

    threshold: float
    _: KW_ONLY
    dwell: int
    episodes: int
    reached: int
    fired: int
    right: int
    false_successes: int

    @property
    def precision(self) -> float:
        """The part of the detections that are right; NaN without any."""
        return self.right / self.fired if self.fired else math.nan

    @property
    def recall(self) -> float:
        """The part of the reached goals that are detected; NaN without any."""
        return self.right / self.reached if self.reached else math.nan

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / max(self.fired + self.reached, 1)

    @property
    def false_success_bound(self) -> float:
        """Upper bound of the part of failed attempts that count as successes, Clopper-Pearson."""
        return upper_bound(self.false_successes, self.episodes - self.reached)

    def to_plain(self) -> dict[str, Any]:
        """Return all figures as JSON has them; None for NaN, exact intervals of 95 %."""
        return {
            **asdict(self),
            'precision': _or_none(self.precision),
            'precision_95': interval(self.right, self.fired),
            'recall': _or_none(self.recall),
            'recall_95': interval(self.right, self.reached),
            'false_success_bound': self.false_success_bound,
        }

    def describe(self) -> str:
        """Return counts, precision and recall in words."""
        if not self.fired:
            return f'it never fired in {self.episodes} episodes, {self.reached} with the goal'
        low, high = interval(self.right, self.fired)
        return (
            f'fired in {self.fired} of {self.episodes}, right in {self.right}: precision '
            f'{self.precision:.2f} [{low:.2f}, {high:.2f}], recall {self.recall:.2f}'
        )


@dataclass(frozen=True)
class Proposal:
    """
    The threshold and dwell that stage 1 proposes, and the reason.

    :param threshold: s [steps].
    :param false_success_bound: upper bound of the part of failed attempts that would count as
        successes, at the level ``LEVEL``; 1 without labelled failures.
    """

    threshold: float
    _: KW_ONLY
    dwell: int
    false_success_bound: float = 1.0

    def rules(self, rules: EpisodeRules) -> EpisodeRules:
        """Return the episode rules with this threshold and dwell."""
        return replace(rules, success_threshold=self.threshold, success_dwell=self.dwell)


@dataclass(frozen=True)
class DetectorReport:
    """
    What the detector does on held-out episodes, and what follows from it.

    :param demonstrations: held-out demonstrations.
    :param attempts: held-out labelled attempts of the robot; none without labels.
    :param proposed: threshold and dwell.
    :param second: those of the second reward model; None without one.
    """

    demonstrations: Sequence[HeldOut]
    attempts: Sequence[HeldOut] = ()
    _: KW_ONLY
    proposed: Proposal
    second: Proposal | None = None
    figures: dict[str, list[DetectorFigures]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write ``detector.json`` into a folder."""
        plain = {
            **{name: [one.to_plain() for one in found] for name, found in self.figures.items()},
            'proposed': asdict(self.proposed),
            'second': asdict(self.second) if self.second else None,
            'held_out': {
                name: [one.to_plain() for one in getattr(self, name)]
                for name in ('demonstrations', 'attempts')
            },
        }
        (folder / FILE).write_text(json.dumps(plain, indent=1))


def read_report(folder: Path) -> DetectorReport | None:
    """
    Return the report that ``write`` wrote; None without one, or with one of an earlier version.

    :raises ValueError: when the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_text())
        if isinstance(plain, list):  # of an earlier version: figures without the episodes
            return None
        found = {k: [HeldOut.from_plain(e) for e in v] for k, v in plain['held_out'].items()}
        return DetectorReport(
            found['demonstrations'],
            found['attempts'],
            proposed=Proposal(**plain['proposed']),
            second=Proposal(**plain['second']) if plain['second'] else None,
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: expected figures of stage 1, got {error}') from error


def report(
    demonstrations: Sequence[HeldOut],
    attempts: Sequence[HeldOut],
    rules: EpisodeRules,
    dwells: Iterable[int] = DWELLS,
) -> DetectorReport:
    """
    Return the figures on both kinds of episodes and the proposed threshold and dwell.

    :param dwells: that may be proposed beside the dwell of ``rules``, if there are attempts.
    """
    figures = {'demonstrations': examine(demonstrations, rules)}
    if not attempts:
        return DetectorReport(
            demonstrations, proposed=propose(figures['demonstrations']), figures=figures
        )
    figures['attempts'] = examine(attempts, rules, ATTEMPT_THRESHOLDS, dwells)
    return DetectorReport(
        demonstrations,
        attempts,
        proposed=choose(demonstrations, figures['attempts'], rules),
        figures=figures,
    )


def examine(
    episodes: Sequence[HeldOut],
    rules: EpisodeRules,
    thresholds: Iterable[float] = THRESHOLDS,
    dwells: Iterable[int] = (),
) -> list[DetectorFigures]:
    """Return the figures of each dwell and threshold, and of those of ``rules``, in order."""
    return [
        measure(episodes, replace(rules, success_threshold=s, success_dwell=dwell))
        for dwell in sorted({*dwells, rules.success_dwell})
        for s in sorted({*thresholds, rules.success_threshold})
    ]


def propose(figures: Iterable[DetectorFigures]) -> Proposal:
    """Return what has the largest F1; of equal ones the smallest threshold."""
    best = max(figures, key=lambda found: (found.f1, -found.threshold))
    return Proposal(best.threshold, dwell=best.dwell)


def check_detector(
    found: DetectorReport | None, rules: EpisodeRules, min_precision: float
) -> list[str]:
    """
    Return what was measured of a detector before practice, in words.

    Labelled attempts count where there are any, else held-out demonstrations. Demonstrations have
    no failures, and their end is the first observation at the goal. So a detection up to s steps
    before it, which is what d <= s says, is right there.

    :param min_precision: smallest precision with which practice may begin; 0 for any.
    :raises ValueError: when the precision is smaller.
    """
    if found is None:
        return ['warning: the success detector was not measured: stage 1 of an earlier version']
    lines = []
    figures = measure(found.attempts, rules)
    if not found.attempts:
        lines = [f'warning: the success detector was not measured on failures. {LABEL}']
        figures = measure(found.demonstrations, rules, rules.success_threshold)
    kind = 'attempts' if found.attempts else 'demonstrations'
    text = (
        f'success detector on held-out {kind}, s = {rules.success_threshold:g}, dwell '
        f'{rules.success_dwell}: {figures.describe()}'
    )
    if figures.fired and figures.precision < min_precision:
        other = found.proposed
        raise ValueError(
            f'{text}; expected a precision of at least {min_precision:g} before practice, because '
            f'practice makes a wrong detector worse. Stage 1 proposes s = {other.threshold:g}, '
            f'dwell {other.dwell}. {LABEL}. --min-precision 0 practises all the same'
        )
    return [*lines, text]


def choose(
    demonstrations: Sequence[HeldOut],
    figures: Sequence[DetectorFigures],
    rules: EpisodeRules,
    max_false_success: float = MAX_FALSE_SUCCESS,
) -> Proposal:
    """
    Return threshold and dwell by their figures on held-out labelled attempts.

    Of the candidates whose bound of false successes is within ``max_false_success``, it is the one
    with the largest recall. Where none is, it is the one with the largest recall among those with
    the fewest false successes. Of equal ones the smallest threshold is taken.

    False successes grow with s. So the candidates of one dwell form a chain of nested tests, and
    the bound holds for all that pass ("learn then test", Angelopoulos et al. 2021,
    arXiv:2110.01052, fixed-sequence testing). Several dwells share the error equally.

    :param demonstrations: held-out ones; their recall counts where no attempt succeeded.
    :param figures: of the attempts, in increasing order of the threshold for each dwell.
    """
    level = 1 - (1 - LEVEL) / len({one.dwell for one in figures})

    def bound(one: DetectorFigures) -> float:
        return upper_bound(one.false_successes, one.episodes - one.reached, level)

    def found(one: DetectorFigures) -> tuple[float, float]:
        candidate = Proposal(one.threshold, dwell=one.dwell).rules(rules)
        seen = one if one.reached else measure(demonstrations, candidate)
        return seen.recall, -one.threshold

    fewest = min(one.false_successes for one in figures)
    passed = [one for one in figures if bound(one) <= max_false_success]
    best = max(passed or [one for one in figures if one.false_successes == fewest], key=found)
    return Proposal(best.threshold, dwell=best.dwell, false_success_bound=bound(best))


def measure(
    episodes: Sequence[HeldOut], rules: EpisodeRules, tolerance: float = 0.0
) -> DetectorFigures:
    """
    Return what the detector does on episodes with one threshold and dwell.

    :param tolerance: a detection so many steps before the goal is still right [steps].
    """
    fired = [(first_detection(one.steps_to_go, rules), one.reached_at) for one in episodes]
    detected = [(at, goal) for at, goal in fired if at is not None]
    return DetectorFigures(
        rules.success_threshold,
        dwell=rules.success_dwell,
        episodes=len(episodes),
        reached=sum(one.reached_at is not None for one in episodes),
        fired=len(detected),
        right=sum(goal is not None and at + tolerance >= goal for at, goal in detected),
        false_successes=sum(goal is None for _, goal in detected),
    )


def interval(hits: int, count: int) -> tuple[float, float]:
    """Return the ends of the exact 95 % interval of a rate; (0, 1) without any trial."""
    if not count:
        return 0.0, 1.0
    ends = scipy.stats.binomtest(hits, count).proportion_ci(LEVEL, method='exact')
    return float(ends.low), float(ends.high)


def upper_bound(hits: int, count: int, level: float = LEVEL) -> float:
    """Return the one-sided upper Clopper-Pearson bound of a rate; 1 without any trial."""
    if hits >= count:
        return 1.0
    return float(scipy.stats.beta.ppf(level, hits + 1, count - hits))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
