"""
Success of a policy and of its success detector, measured by the simulator's truth.

For reports only: nothing in this file may reach the learner. *Self-stopped* success counts an
episode whose goal is reached at the observation where the robot's own success detector fires; an
episode without a detection is a failure (``is_self_stopped``). *Reached* success counts an
episode whose goal was reached at some observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, KW_ONLY
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode
from efm_core.episode_rules import EpisodeRules, first_detection, is_void
from efm_evaluation.intervals import wilson
import numpy as np


@dataclass(frozen=True)
class Proportion:
    """A number of successes among episodes, with its 95 % Wilson interval."""

    successes: int
    episodes: int

    def __str__(self) -> str:
        """Return counts, percentage and interval, such as ``8 of 10 (80 % [49, 94])``."""
        if not self.episodes:
            return '0 of 0'
        rate, low, high = (f'{100 * value:.0f}' for value in (self.rate, *self.interval))
        return f'{self.successes} of {self.episodes} ({rate} % [{low}, {high}])'

    @property
    def rate(self) -> float:
        """Fraction of successes; NaN without episodes."""
        return self.successes / self.episodes if self.episodes else float('nan')

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % Wilson interval; (0, 1) without episodes."""
        return wilson(self.successes, self.episodes)

    def to_plain(self) -> dict[str, Any]:
        """Return counts, rate and interval as JSON holds them; rate None without episodes."""
        rate = self.rate if self.episodes else None
        return {**asdict(self), 'rate': rate, 'wilson_95': list(self.interval)}


@dataclass(frozen=True)
class Evaluation:
    """
    Success of episodes, by the simulator's truth. Episodes of unknown truth do not count.

    :param self_stopped: the goal is reached at the observation where the robot's own success
        detector fires; an episode without a detection is a failure.
    :param reached: the goal was reached at some observation.
    :param mean_steps: mean steps to the goal, or of the whole episode where it was never reached;
        NaN without episodes.
    """

    self_stopped: Proportion
    reached: Proportion
    _: KW_ONLY
    mean_steps: float


def evaluate(episodes: Iterable[Episode], embodiment: Embodiment) -> Evaluation:
    """
    Return both measures of success.

    A void episode, which a fault or a person ended, does not count.

    An episode that the detector stops cannot reach its goal afterwards. To compare the reached
    success of policies, let episodes run to their time limit, as ``efm evaluate`` does.

    :param episodes: with simulator truth at each observation.
    :param embodiment: of the robot; its episode rules define the success detector.
    """
    episodes = [e for e in episodes if not is_void(e.outcome, e.termination)]
    steps = [steps_to_goal(episode) for episode in episodes]
    return Evaluation(
        self_stopped=self_stopped(episodes, embodiment.episode),
        reached=success_rate(episodes),
        mean_steps=float(np.mean(steps)) if steps else float('nan'),
    )


def reached(episode: Episode) -> bool | None:
    """Return whether the goal was reached at any observation; None if the truth is unknown."""
    truth = episode.true_success_per_step
    return episode.true_success if truth is None else bool(truth.any())


def success_rate(episodes: Iterable[Episode]) -> Proportion:
    """Return how many of the episodes whose truth is known reached their goal."""
    known = [success for success in map(reached, episodes) if success is not None]
    return Proportion(sum(known), len(known))


def is_self_stopped(truth: np.ndarray, detection: int | None) -> bool:
    """
    Return whether the goal is reached at the observation where the success detector fires.

    Every figure of self-stopped success comes from this function.

    :param truth: the simulator's success at each observation, ``(T + 1,)`` bool.
    :param detection: index of the first detection; None without any: a time-out or an ended scene
        is a failure, wherever the robot stands.
    """
    return detection is not None and bool(truth[detection])


def self_stopped(episodes: Iterable[Episode], rules: EpisodeRules) -> Proportion:
    """
    Return how many episodes the success detector stops at their goal.

    Only episodes with truth and steps-to-go at each observation count.
    """
    hits = [is_self_stopped(truth, at) for _, truth, at in _with_detections(episodes, rules)]
    return Proportion(sum(hits), len(hits))


@dataclass(frozen=True)
class Detection:
    """Counts of a detector against the truth."""

    true_positives: int
    false_positives: int
    _: KW_ONLY
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Fraction of its detections that are true; NaN without detections."""
        return _fraction(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Fraction of the true cases that it detects; NaN without true cases."""
        return _fraction(self.true_positives, self.true_positives + self.false_negatives)

    def to_plain(self) -> dict[str, Any]:
        """Return counts, precision and recall as JSON holds them; None for NaN."""
        figures = {'precision': self.precision, 'recall': self.recall}
        return {
            **asdict(self),
            **{name: None if np.isnan(value) else value for name, value in figures.items()},
        }


def detect(detected: Sequence[bool] | np.ndarray, true: Sequence[bool] | np.ndarray) -> Detection:
    """Return the counts of a detector against the truth, ``(N,)`` each."""
    detected = np.asarray(detected, bool)
    true = np.asarray(true, bool)
    return Detection(
        true_positives=int((detected & true).sum()),
        false_positives=int((detected & ~true).sum()),
        false_negatives=int((~detected & true).sum()),
        true_negatives=int((~detected & ~true).sum()),
    )


def detect_per_episode(episodes: Iterable[Episode], rules: EpisodeRules) -> Detection:
    """
    Return the counts of the success detector over whole episodes.

    A detection is true if the goal is reached at that observation. An episode without a detection
    is a false negative if its goal was reached at some observation. The detector also counts where
    it did not end the episode.
    """
    detected = []
    true = []
    for episode, truth, at in _with_detections(episodes, rules):
        detected.append(at is not None)
        true.append(bool(reached(episode) if at is None else truth[at]))
    return detect(detected, true)


def detect_per_frame(episodes: Iterable[Episode], threshold: float) -> Detection:
    """Return the counts of d <= s over single observations; ``threshold`` is s [steps]."""
    known = list(_with_truth(episodes))
    detected = [episode.steps_to_go <= threshold for episode, _ in known]
    true = [truth for _, truth in known]
    none = [np.zeros(0, bool)]
    return detect(np.concatenate(detected or none), np.concatenate(true or none))


def steps_to_goal(episode: Episode) -> int:
    """Return the number of actions before the goal was first reached, or of all actions."""
    truth = episode.true_success_per_step
    return int(np.argmax(truth)) if truth is not None and truth.any() else len(episode)


def has_steps_to_go(episode: Episode) -> bool:
    """Return whether each observation has a steps-to-go prediction."""
    return bool(np.isfinite(episode.steps_to_go).all())


def _with_truth(episodes: Iterable[Episode]) -> Iterator[tuple[Episode, np.ndarray]]:
    """Yield the episodes with truth, ``(T + 1,)`` bool, and steps-to-go at each observation."""
    for episode in episodes:
        truth = episode.true_success_per_step
        if truth is not None and has_steps_to_go(episode):
            yield episode, truth


def _with_detections(
    episodes: Iterable[Episode], rules: EpisodeRules
) -> Iterator[tuple[Episode, np.ndarray, int | None]]:
    """Yield episode, truth and the observation at which its detector fires, if it does."""
    for episode, truth in _with_truth(episodes):
        yield episode, truth, first_detection(episode.steps_to_go, rules)


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else float('nan')
