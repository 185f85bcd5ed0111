"""What the policy sees at one decision, and the measured state that a part of it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, KW_ONLY
from typing import Any

import numpy as np

NOTHING = np.zeros(0)


@dataclass(frozen=True)
class Observation:
    """
    What policy and reward model see at one decision, or at several.

    Several observations have leading axes, such as ``T + 1`` for an episode.

    :param images: one for each camera of the embodiment, in its order, ``(..., H, W, 3)`` uint8
        RGB.
    :param proprioception: measured state of the robot, ``(..., P)`` float32; ``P`` may be 0.
    """

    images: tuple[np.ndarray, ...]
    proprioception: np.ndarray

    @classmethod
    def of(cls, *images: np.ndarray) -> Observation:
        """Return images without proprioception."""
        return cls(images, np.zeros((*images[0].shape[:-3], 0), np.float32))

    @classmethod
    def stack(cls, observations: Sequence[Observation]) -> Observation:
        """Return observations as one, with a new first axis."""
        return cls._joined(np.stack, observations)

    @classmethod
    def concatenate(cls, observations: Sequence[Observation]) -> Observation:
        """Return observations as one, joined at their first axis."""
        return cls._joined(np.concatenate, observations)

    @classmethod
    def _joined(
        cls, join: Callable[..., np.ndarray], observations: Sequence[Observation]
    ) -> Observation:
        images = zip(*(observation.images for observation in observations), strict=True)
        states = [observation.proprioception for observation in observations]
        return cls(tuple(join(image) for image in images), join(states))

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return len(self.proprioception)

    def __iter__(self) -> Iterator[Observation]:
        """Yield the observations along the first axis."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Observation:
        """Return some observations along the first axis."""
        return Observation(
            tuple(image[index] for image in self.images), self.proprioception[index]
        )

    def equals(self, other: Observation) -> bool:
        """Return whether all numbers of two observations are equal."""
        return len(self.images) == len(other.images) and all(
            np.array_equal(mine, its)
            for mine, its in zip(
                (*self.images, self.proprioception),
                (*other.images, other.proprioception),
                strict=True,
            )
        )


@dataclass(frozen=True)
class MeasuredState:
    """
    The measured state of a robot.

    :param joints: the ``J`` names of the joints.
    :param positions: ``(J,)`` [rad or m]; empty if unknown.
    :param velocities: ``(J,)`` [rad/s or m/s]; empty if unknown.
    :param tool_pose: ``(7,)`` x, y, z [m], quaternion x, y, z, w; empty if unknown.
    """

    joints: tuple[str, ...] = ()
    positions: np.ndarray = field(default_factory=lambda: NOTHING)
    _: KW_ONLY
    velocities: np.ndarray = field(default_factory=lambda: NOTHING)
    tool_pose: np.ndarray = field(default_factory=lambda: NOTHING)
