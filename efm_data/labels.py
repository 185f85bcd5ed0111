"""Labels that a person gives to attempts of the robot."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.episode import Episode


@dataclass(frozen=True)
class LabelledAttempt:
    """
    One attempt of a policy, with the label of a person.

    :param success_at: index of the first observation at which the goal is reached; None if the
        attempt never reached it.
    """

    episode: Episode
    success_at: int | None
