"""The protocols that a simulated world implements."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class World(Protocol):
    """
    A world in which rollouts run episodes, such as `efm_sim.table.world.Table`.

    :ivar instruction: sentence of the current task; `reset` sets it.
    """

    instruction: str

    def reset(self, seed: int, /) -> None:
        """Make the scene of ``seed``. Equal seeds give equal scenes and instructions."""

    def step(self, action: np.ndarray, /) -> None:
        """Execute ``action`` for one control step; ``(A,)`` float32, units of the embodiment."""

    def render(self) -> np.ndarray:
        """Return the image of the policy camera, ``(H, W, 3)`` uint8 RGB."""
        ...

    def success(self) -> bool:
        """Return whether the task is done: simulator truth, for reports and never for learning."""
        ...


class PublishedWorld(World, Protocol):
    """A world that also has all that the world node publishes. Truth serves demonstrators."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The ``J`` names of the joints; empty without joints."""
        ...

    @property
    def joint_positions(self) -> np.ndarray:
        """Positions of the joints, ``(J,)`` float64 [rad or m]."""
        ...

    def positions(self) -> dict[str, np.ndarray]:
        """Return true positions by name, ``(3,)`` float64 each."""
        ...

    def distance(self) -> float:
        """Return the true distance from the goal [m]; NaN if unknown."""
        ...

    def camera_matrix(self) -> np.ndarray:
        """Return the camera's intrinsic matrix, ``(3, 3)`` float64 [px]; zeros if unknown."""
        ...

    def close(self) -> None:
        """Free graphics memory and processes."""
