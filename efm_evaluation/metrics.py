"""
How good a policy and its success detector are, measured by what the simulator knows.

For reports only: nothing here may reach the learner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, KW_ONLY

from efm_core.episode import Episode
from efm_core.episode_rules import EpisodeRules, first_detection
import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Proportion:
    """A number of successes among episodes, with its 95 % Wilson interval."""

    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """Share of successes; NaN of nothing."""
        return self.successes / self.episodes if self.episodes else float('nan')

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval; everything is possible after no episode."""
        if not self.episodes:
            return 0.0, 1.0
        test = binomtest(self.successes, self.episodes)
        low, high = test.proportion_ci(confidence_level=0.95, method='wilson')
        return float(low), float(high)

    def to_plain(self) -> dict:
        """Return counts, rate and interval as JSON holds them."""
        return {**asdict(self), 'rate': self.rate, 'wilson_95': list(self.interval)}


def reached(episode: Episode) -> bool | None:
    """Return whether the goal was truly reached at any observation; None if nobody knows."""
    truth = episode.true_success_per_step
    return episode.true_success if truth is None else bool(truth.any())


def success_rate(episodes: Iterable[Episode]) -> Proportion:
    """Return how many of the episodes whose truth is known reached their goal."""
    known = [success for success in map(reached, episodes) if success is not None]
    return Proportion(sum(known), len(known))


@dataclass(frozen=True)
class Detection:
    """What a detector said against what was true."""

    true_positives: int
    false_positives: int
    _: KW_ONLY
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of its alarms that were true; NaN without any."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the true cases that it noticed; NaN without any."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    def to_plain(self) -> dict:
        """Return counts, precision and recall as JSON holds them; None for NaN."""
        figures = {'precision': self.precision, 'recall': self.recall}
        return {
            **asdict(self),
            **{name: None if np.isnan(value) else value for name, value in figures.items()},
        }


def detect(said: Sequence[bool], true: Sequence[bool]) -> Detection:
    """Return the counts of a detector's words against the truth, ``(N,)`` each."""
    said = np.asarray(said, bool)
    true = np.asarray(true, bool)
    return Detection(
        true_positives=int((said & true).sum()),
        false_positives=int((said & ~true).sum()),
        false_negatives=int((~said & true).sum()),
        true_negatives=int((~said & ~true).sum()),
    )


def detect_per_episode(episodes: Iterable[Episode], rules: EpisodeRules) -> Detection:
    """
    Return how the detector of whole episodes did: fired or not, against the truth at that moment.

    Also where it was not allowed to end the episode. Where it did not fire, it missed the goal if
    that was reached at any time.
    """
    known = [e for e in episodes if e.true_success_per_step is not None and has_steps_to_go(e)]
    fired = [first_detection(e.steps_to_go, rules) for e in known]
    pairs = zip(known, fired, strict=True)
    true = [reached(e) if at is None else e.true_success_per_step[at] for e, at in pairs]
    return detect([at is not None for at in fired], true)


def success_when_ended(episodes: Iterable[Episode], rules: EpisodeRules) -> int:
    """Return how many episodes stand at their goal where the detector ends them, or at the end."""
    known = [e for e in episodes if e.true_success_per_step is not None and has_steps_to_go(e)]
    fired = [first_detection(e.steps_to_go, rules) for e in known]
    pairs = zip(known, fired, strict=True)
    return sum(bool(e.true_success_per_step[-1 if at is None else at]) for e, at in pairs)


def steps_to_goal(episode: Episode) -> int:
    """Return the steps after which the goal was first reached, or all of them."""
    truth = episode.true_success_per_step
    return int(np.argmax(truth)) if truth is not None and truth.any() else len(episode)


def detect_per_frame(episodes: Iterable[Episode], threshold: float) -> Detection:
    """Return how d <= s did on single observations; ``threshold`` is s [steps]."""
    known = [e for e in episodes if e.true_success_per_step is not None and has_steps_to_go(e)]
    said = [e.steps_to_go <= threshold for e in known]
    true = [e.true_success_per_step for e in known]
    return detect(np.concatenate(said or [[]]), np.concatenate(true or [[]]))


def has_steps_to_go(episode: Episode) -> bool:
    """Return whether somebody said steps-to-go of every observation."""
    return bool(np.isfinite(episode.steps_to_go).all())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float('nan')
