"""Labelled attempts of the robot: their split, and what a reward model learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from efm_core.config import expect
from efm_core.episode import Episode, Outcome
from efm_data.labels import LabelledAttempt
import numpy as np


@dataclass(frozen=True)
class AttemptSplit:
    """
    Labelled attempts for training, and the held-out ones that measure the detector.

    No episode is in both.
    """

    training: Sequence[LabelledAttempt] = ()
    held_out: Sequence[LabelledAttempt] = ()

    @property
    def successes(self) -> list[Episode]:
        """The training attempts that reached their goal, up to the observation at the goal."""
        found = ((a.episode, a.success_at) for a in self.training)
        return [until(episode, at) for episode, at in found if at is not None]

    @property
    def failures(self) -> list[Episode]:
        """The training attempts that never reached their goal."""
        return [attempt.episode for attempt in self.training if attempt.success_at is None]


def split_attempts(
    attempts: Sequence[LabelledAttempt], fraction: float, seed: int
) -> AttemptSplit:
    """
    Return attempts for training and held-out ones, at random, each outcome by itself.

    Of two or more attempts with an outcome, each side gets at least one. A single one trains.

    :param fraction: of each outcome that is held out.
    :raises ValueError: when a label is not inside its episode.
    """
    usable = [attempt for attempt in attempts if len(attempt.episode)]
    for attempt in usable:
        last = len(attempt.episode)
        at = attempt.success_at
        where = f'label of episode {attempt.episode.episode_id}'
        expect(at is None or 0 <= at <= last, where, f'an observation from 0 to {last}', at)
    rng = np.random.default_rng(seed)
    training: list[LabelledAttempt] = []
    held_out: list[LabelledAttempt] = []
    for reached in (False, True):
        group = [attempt for attempt in usable if (attempt.success_at is not None) is reached]
        order = rng.permutation(len(group))
        count = int(np.clip(round(fraction * len(group)), 1, max(len(group) - 1, 0)))
        held_out += [group[i] for i in order[:count]]
        training += [group[i] for i in order[count:]]
    return AttemptSplit(training, held_out)


def until(episode: Episode, last: int) -> Episode:
    """
    Return an episode without what follows an observation, as one that succeeded there.

    Later observations are not used: a label tells when the goal was reached, not how long it held.

    :param last: index of the observation.
    """
    return replace(
        episode,
        observations=episode.observations[: last + 1],
        stamps=episode.stamps[: last + 1],
        tokens=episode.tokens[:last],
        actions=episode.actions[:last],
        log_probs=episode.log_probs[:last],
        steps_to_go=episode.steps_to_go[: last + 1],
        outcome=Outcome.SUCCESS,
        perturbed=None,
        true_success=None,
        true_success_per_step=None,
    )
