"""A scripted teacher that sees true positions: behind the source, then to the target."""

from __future__ import annotations

import importlib
from typing import Protocol

from efm_sim.table.config import DemonstratorConfig
import numpy as np

BEHIND = 0.052  # from the source's middle to where a push starts [m]
CLEARANCE = 0.048  # from a block's middle when passing it [m]
LINED_UP = 0.007  # largest sideways error at which a push starts [m]
DEFAULT = DemonstratorConfig()


class DemonstratorProtocol(Protocol):
    """Whoever demonstrates; ``Demonstrator`` is one."""

    def begin(self, seed: int) -> None:
        """Start an episode; everything that is drawn follows from the seed."""

    def act(self, positions: dict[str, np.ndarray]) -> np.ndarray:
        """Return the next action, ``(A,)`` float32, given what the world says of itself."""


def load_demonstrator(name: str, config: DemonstratorConfig = DEFAULT) -> DemonstratorProtocol:
    """
    Return the demonstrator called ``module:class``, or the table's own for an empty name.

    :raises ValueError: when there is none of this name, with why.
    """
    if not name:
        return Demonstrator(config)
    module, _, kind = name.partition(':')
    try:
        return getattr(importlib.import_module(module), kind)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(
            f'demonstrator: expected `module:class` that can be made, got {name!r}: {error}'
        ) from error


class Demonstrator:
    """Do a task about as well as a hurried person with a joystick."""

    def __init__(self, config: DemonstratorConfig = DEFAULT):
        """Call ``begin`` before the first action."""
        self.config = config

    def begin(self, seed: int) -> None:
        """Start an episode: draw its speed, and make its noise follow from the seed."""
        self._rng = np.random.default_rng([seed, 2])
        self._speed = self._rng.uniform(self.config.slowest, self.config.fastest)
        self._pushing = False

    def act(self, positions: dict[str, np.ndarray]) -> np.ndarray:
        """
        Return the next displacement of the tool, (2,) float32 [m].

        :param positions: of tool, source, target and the other blocks, in this order, (3,) [m]
            each.
        """
        tool, source, target, *others = (position[:2] for position in positions.values())
        limit = self.config.max_action_m
        direction = self._direction(tool, source, target, others)
        step = self._speed * limit * direction + self._rng.normal(0, self.config.noise * limit, 2)
        return np.clip(step, -limit, limit).astype(np.float32)

    def _direction(
        self, tool: np.ndarray, source: np.ndarray, target: np.ndarray, others: list
    ) -> np.ndarray:
        """Return where to go, (2,), a vector no longer than 1."""
        ahead = unit(target - source)
        offset = tool - source
        along = offset @ ahead
        sideways = offset - along * ahead
        self._pushing = along < 0 and np.linalg.norm(sideways) < LINED_UP * (
            2 if self._pushing else 1
        )
        if self._pushing:
            return unit(ahead - sideways / 0.02)
        goal = source - BEHIND * ahead
        reach = self._speed * self.config.max_action_m
        return pass_by(tool, goal, [source, *others]) * min(
            1.0, np.linalg.norm(goal - tool) / reach
        )


def pass_by(start: np.ndarray, goal: np.ndarray, obstacles: list[np.ndarray]) -> np.ndarray:
    """Return the direction to ``goal`` around the nearest obstacle, a unit vector, (2,)."""
    heading = unit(goal - start)
    blocking = [block for block in obstacles if is_in_the_way(start, goal, block)]
    if not blocking:
        return heading
    offset = min((block - start for block in blocking), key=np.linalg.norm)
    distance = np.linalg.norm(offset)
    tangent = np.array([-offset[1], offset[0]]) / distance
    tangent = tangent if tangent @ heading >= 0 else -tangent
    return unit(tangent + (distance - CLEARANCE) / 0.02 * offset / distance)


def is_in_the_way(start: np.ndarray, goal: np.ndarray, block: np.ndarray) -> bool:
    """Return whether the straight way from ``start`` to ``goal`` comes too near to a block."""
    way = goal - start
    share = np.clip((block - start) @ way / max(way @ way, 1e-12), 0, 1)
    leaving = (block - start) @ way <= 0
    return not leaving and float(np.linalg.norm(start + share * way - block)) < CLEARANCE - 0.008


def unit(vector: np.ndarray) -> np.ndarray:
    """Return a vector of length 1 in the same direction; zero stays zero."""
    return vector / max(np.linalg.norm(vector), 1e-9)
