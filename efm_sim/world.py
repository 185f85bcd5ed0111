"""The protocols that a simulated world implements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from efm_core.observation import MeasuredState
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

    def images(self) -> tuple[np.ndarray, ...]:
        """Return the image of each camera of the embodiment, ``(H, W, 3)`` uint8 RGB."""
        ...

    def state(self) -> MeasuredState:
        """Return the measured state of the robot, which the policy may see."""
        ...

    def terminated(self) -> bool:
        """Return whether the scene has ended: it stands still until the next reset."""
        ...

    def success(self) -> bool:
        """Return whether the task is done: simulator truth, for reports and never for learning."""
        ...


class PublishedWorld(World, Protocol):
    """A world that also has all that the world node publishes. Truth serves demonstrators."""

    def positions(self) -> dict[str, np.ndarray]:
        """Return true positions by name, ``(3,)`` float64 each."""
        ...

    def info(self) -> Mapping[str, Any]:
        """Return the newest info of a Gymnasium environment, as JSON has it; else nothing."""
        ...

    def distance(self) -> float:
        """Return the true distance from the goal [m]; NaN if unknown."""
        ...

    def camera_matrix(self) -> np.ndarray:
        """Return the first camera's intrinsic matrix, ``(3, 3)`` [px]; zeros if unknown."""
        ...

    def close(self) -> None:
        """Free graphics memory and processes."""
