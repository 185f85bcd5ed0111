"""The words of the domain: outcome, termination, kind, episode."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
from enum import Enum

import numpy as np


class Outcome(str, Enum):
    """Whether the robot did the task."""

    SUCCESS = 'success'
    FAILURE = 'failure'
    UNLABELLED = 'unlabelled'


class Termination(str, Enum):
    """Why the episode ended, apart from whether the task was done."""

    SUCCESS_DETECTED = 'success_detected'
    TIMEOUT = 'timeout'
    INTERVENTION = 'intervention'
    FAULT = 'fault'
    STOPPED = 'stopped'


class Kind(str, Enum):
    """What an episode is for; the trainer learns from the first two only."""

    DEMONSTRATION = 'demonstration'
    PRACTICE = 'practice'
    EVALUATION = 'evaluation'


@dataclass(frozen=True)
class Episode:
    """
    One attempt, from reset to end: ``T`` actions between ``T + 1`` observations.

    An action of a policy with chunks is a chunk. Letters: ``T`` actions, ``H`` rows of a chunk,
    ``K`` action tokens, ``A`` action size.

    :param observations: ``(T + 1, H, W, 3)`` uint8 RGB; the last one follows the last action.
    :param stamps: ``(T + 1,)`` int64, stamp of each observation [ns].
    :param tokens: ``(T, K)`` int64 action tokens.
    :param actions: ``(T, A)`` float32 decoded actions, units of the embodiment; chunks
        ``(T, H, A)``.
    :param log_probs: ``(T,)`` float32, log p(tokens | o, g) of the policy that acted;
        0 for a demonstrator.
    :param steps_to_go: ``(T + 1,)`` float32, the robot's own d(o, g) [steps]; NaN where
        nobody judged.
    :param true_success: simulator truth at the last observation, for reports only; None if
        unknown.
    :param true_success_per_step: ``(T + 1,)`` bool simulator truth, for reports only; None
        if unknown.
    :param stride: observations from one decision to the next: 1, or H where every control step
        was observed and has the chunk that begins there.
    """

    episode_id: str
    index: int
    _: KW_ONLY
    kind: Kind
    instruction: str
    seed: int
    observations: np.ndarray
    stamps: np.ndarray
    tokens: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    steps_to_go: np.ndarray
    outcome: Outcome
    termination: Termination
    policy_version: int
    reward_version: int
    embodiment_hash: str
    true_success: bool | None = None
    true_success_per_step: np.ndarray | None = None
    stride: int = 1

    def __len__(self) -> int:
        """Return the number of actions."""
        return len(self.tokens)

    def __post_init__(self):
        """
        Refuse an episode whose arrays disagree.

        :raises ValueError: when there are not ``T + 1`` observations for ``T`` actions.
        """
        steps = len(self.tokens)
        for name, extra in (
            ('observations', 1),
            ('stamps', 1),
            ('steps_to_go', 1),
            ('actions', 0),
            ('log_probs', 0),
        ):
            if len(getattr(self, name)) != steps + extra:
                raise ValueError(
                    f'episode {self.episode_id}: {name}: expected length {steps + extra}, '
                    f'got {len(getattr(self, name))}'
                )
