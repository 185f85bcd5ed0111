"""The terms of an episode: outcome, termination, kind, goal, ending and the episode itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, KW_ONLY
from enum import Enum
import math

from efm_core.observation import Observation
import numpy as np


class Outcome(str, Enum):
    """Whether the task was done."""

    SUCCESS = 'success'
    FAILURE = 'failure'
    UNLABELLED = 'unlabelled'


class Termination(str, Enum):
    """Why the episode ended; the outcome is separate."""

    SUCCESS_DETECTED = 'success_detected'
    TIMEOUT = 'timeout'
    TERMINATED = 'terminated'
    INTERVENTION = 'intervention'
    FAULT = 'fault'
    STOPPED = 'stopped'


class Kind(str, Enum):
    """The purpose of an episode; the trainer learns from the first two only."""

    DEMONSTRATION = 'demonstration'
    PRACTICE = 'practice'
    EVALUATION = 'evaluation'


@dataclass(frozen=True)
class EpisodeGoal:
    """
    One requested episode; fields as in ``RunEpisode.action``.

    :param index: position of the episode in its run.
    :param kind: a value of ``Kind``.
    :param instruction: the goal g; '' lets the world choose.
    :param max_steps: time limit [decisions]; 0 for the embodiment's.
    :param policy_version: release that must act; 0 for the newest.
    """

    episode_id: str
    index: int = 0
    _: KW_ONLY
    kind: str = Kind.PRACTICE.value
    instruction: str = ''
    seed: int = 0
    max_steps: int = 0
    policy_version: int = 0


@dataclass(frozen=True)
class EpisodeEnding:
    """
    The end of one episode; fields as in ``EpisodeOutcome.msg``.

    :param stamp: of the last observation [ns]; 0 without any observation.
    :param steps: executed decisions: actions, or chunks.
    :param detail: reason of a fault, in words.
    :param steps_to_go: d at the last observation [steps]; NaN without a reward model.
    """

    outcome: Outcome
    termination: Termination
    _: KW_ONLY
    stamp: int = 0
    steps: int = 0
    detail: str = ''
    steps_to_go: float = math.nan
    policy_version: int = 0
    reward_version: int = 0


def perturbations(marks: Iterable[bool]) -> np.ndarray | None:
    """Return the field ``perturbed`` of an episode from the mark of each action."""
    found = np.array(list(marks), bool)
    return found if found.any() else None


@dataclass(frozen=True)
class Episode:
    """
    One run of the task, from reset to end: ``T`` actions between ``T + 1`` observations.

    An action of a policy with chunks is a chunk. Letters: ``T`` actions, ``H`` chunk steps,
    ``K`` action tokens, ``A`` action size.

    :param episode_id: identifier of the episode.
    :param index: number of the episode in its run.
    :param kind: purpose of the episode.
    :param instruction: sentence of the task.
    :param seed: seed of the scene.
    :param observations: ``T + 1`` of them; the last one follows the last action.
    :param stamps: ``(T + 1,)`` int64, stamp of each observation [ns].
    :param tokens: ``(T, K)`` int64 action tokens.
    :param actions: ``(T, A)`` float32 decoded actions, units of the embodiment; chunks
        ``(T, H, A)``.
    :param log_probs: ``(T,)`` float32, log p(tokens | o, g) of the deployed policy; 0 for a
        demonstrator.
    :param steps_to_go: ``(T + 1,)`` float32, prediction d(o, g) of the reward model [steps];
        NaN without a prediction.
    :param outcome: whether the task was done.
    :param termination: why the episode ended.
    :param policy_version: release of the policy; 0 for a demonstrator.
    :param reward_version: release of the reward model; 0 without one.
    :param embodiment_hash: hash of the robot's embodiment.
    :param true_success: simulator truth at the last observation, for reports only; None if
        unknown.
    :param true_success_per_step: ``(T + 1,)`` bool, simulator truth, for reports only; None if
        unknown.
    :param stride: observations from one decision to the next: 1, or H if each control step was
        observed and has the chunk that begins there.
    :param perturbed: ``(T,)`` bool, actions that are a demonstrator's deliberate mistakes, which
        behaviour cloning leaves out; None: no action is.
    """

    episode_id: str
    index: int
    _: KW_ONLY
    kind: Kind
    instruction: str
    seed: int
    observations: Observation
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
    perturbed: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of actions."""
        return len(self.tokens)

    def __post_init__(self) -> None:
        """
        Check the lengths of the arrays.

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
