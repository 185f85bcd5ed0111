"""The events of an episode that the node passes to the supervisor's state machine."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY


@dataclass(frozen=True)
class ResetReply:
    """
    The world's reply to a reset.

    :param instruction: of the new scene.
    :param stamp: first observation of the new scene [ns].
    :param message: reason of a failure.
    """

    reset_id: int
    _: KW_ONLY
    success: bool
    instruction: str
    stamp: int
    message: str


@dataclass(frozen=True)
class ActionEvent:
    """
    The action for an observation.

    :param stamp: of the observation [ns].
    :param chunk_steps: number of steps of the action.
    :param period: time between them [ns].
    :param age_s: time since the observation [s], in real time.
    """

    episode_id: str
    stamp: int
    _: KW_ONLY
    policy_version: int
    chunk_steps: int = 1
    period: int = 0
    age_s: float = 0.0


@dataclass(frozen=True)
class PredictionEvent:
    """
    The reward model's prediction for an observation.

    :param stamp: of the observation [ns].
    :param success: the success detector fires.
    """

    episode_id: str
    stamp: int
    _: KW_ONLY
    steps_to_go: float
    success: bool
    reward_version: int


@dataclass(frozen=True)
class RecordingResult:
    """
    The recorder's result.

    :param uri: the folder of the bag.
    :param detail: reason of a failure.
    """

    episode_id: str
    _: KW_ONLY
    success: bool
    uri: str
    detail: str
