"""The scripted demonstrator of the table: move behind the source, then push it to the target."""

from __future__ import annotations

from efm_sim.scene import Scene
from efm_sim.table.config import DemonstratorConfig
import numpy as np

BEHIND = 0.052  # distance from the source's centre to the start of a push [m]
CLEARANCE = 0.048  # distance at which the tool passes a block's centre [m]
LINED_UP = 0.007  # largest sideways error at which a push starts [m]
DEFAULT = DemonstratorConfig()


class TableDemonstrator:
    """Does a task about as well as a hurried person with a joystick."""

    def __init__(self, config: DemonstratorConfig = DEFAULT):
        """Call ``begin`` before the first ``act``."""
        self.config = config

    def begin(self, seed: int) -> None:
        """Start an episode. Its speed and its noise depend on ``seed`` only."""
        self._rng = np.random.default_rng([seed, 2])
        self._speed = self._rng.uniform(self.config.slowest, self.config.fastest)
        self._pushing = False

    def act(self, scene: Scene) -> np.ndarray:
        """
        Return the next displacement of the tool, ``(2,)`` float32 [m].

        :param scene: with the positions of tool, source, target and the other blocks, in this
            order; ``(3,)`` each [m].
        """
        tool, source, target, *others = (place[:2] for place in scene.positions.values())
        limit = self.config.max_action_m
        direction = self._direction(tool, source, target, others)
        step = self._speed * limit * direction + self._rng.normal(0, self.config.noise * limit, 2)
        return np.clip(step, -limit, limit).astype(np.float32)

    def _direction(
        self, tool: np.ndarray, source: np.ndarray, target: np.ndarray, others: list[np.ndarray]
    ) -> np.ndarray:
        """Return the direction of motion, ``(2,)``: a vector of length 1 or less."""
        ahead = unit(target - source)
        offset = tool - source
        along = offset @ ahead
        sideways = offset - along * ahead
        tolerance = LINED_UP * (2 if self._pushing else 1)
        self._pushing = bool(along < 0 and np.linalg.norm(sideways) < tolerance)
        if self._pushing:
            return unit(ahead - sideways / 0.02)
        goal = source - BEHIND * ahead
        reach = self._speed * self.config.max_action_m
        return pass_by(tool, goal, [source, *others]) * min(
            1.0, np.linalg.norm(goal - tool) / reach
        )


def pass_by(start: np.ndarray, goal: np.ndarray, obstacles: list[np.ndarray]) -> np.ndarray:
    """Return the direction to ``goal`` around the nearest obstacle, a unit vector, ``(2,)``."""
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
    """Return whether the straight line from ``start`` to ``goal`` passes too close to a block."""
    way = goal - start
    fraction = np.clip((block - start) @ way / max(way @ way, 1e-12), 0, 1)
    leaving = (block - start) @ way <= 0
    nearest = float(np.linalg.norm(start + fraction * way - block))
    return not leaving and nearest < CLEARANCE - 0.008


def unit(vector: np.ndarray) -> np.ndarray:
    """Return a vector of length 1 in the same direction; a zero vector stays zero."""
    return vector / max(np.linalg.norm(vector), 1e-9)
