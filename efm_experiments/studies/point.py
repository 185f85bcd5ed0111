"""
The world of the authors' pointmass notebook: a point, a goal and a controller.

Many episodes run in parallel. Letters: ``N`` episodes. Positions lie in a square from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY

import numpy as np

SUCCESS_RADIUS = 0.15
SUBSTEPS = 10  # physics steps in one step
# Gains of the controller.
PROPORTIONAL = 2e-4
DERIVATIVE = 1.25e-2
BORDER = 0.1  # smallest distance of a goal from the edge
LOST = 10.0  # an episode ends when a coordinate exceeds this; the point would not return
MIN_OBSERVATIONS = 10  # shorter demonstrations are discarded
ACTION = 2
OBSERVATION = 6  # position, velocity, goal


class Points:
    """
    ``N`` points and their goals.

    :ivar positions: ``(N, 2)``, as ``velocities`` and ``goals``.
    """

    def __init__(self, count: int, rng: np.random.Generator):
        self.goals = draw_goals(count, rng)
        self.positions = rng.uniform(-1, 1, (count, 2))
        self.velocities = np.zeros((count, 2))

    def step(self, actions: np.ndarray, moving: np.ndarray) -> None:
        """Accelerate the points that are ``moving``, ``(N,)`` bool, by ``actions``, ``(N, 2)``."""
        for _ in range(SUBSTEPS):
            self.velocities[moving] += actions[moving]
            self.positions[moving] += self.velocities[moving]

    def observe(self) -> np.ndarray:
        """Return position, velocity and goal, ``(N, 6)`` float32."""
        parts = (self.positions, self.velocities, self.goals)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def success(self) -> np.ndarray:
        """Return which points are at their goals, ``(N,)`` bool."""
        return is_near(self.positions, self.goals)


@dataclass(frozen=True)
class Trace:
    """
    One episode.

    :param observations: ``(T + 1, 6)`` float32.
    :param actions: ``(T, 2)`` float32; a demonstration has one more, as in the notebook.
    :param success: whether the episode ended at its goal.
    """

    observations: np.ndarray
    actions: np.ndarray
    _: KW_ONLY
    success: bool

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.observations) - 1


def draw_goals(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return random goals, ``(count, 2)``."""
    return rng.uniform(-1 + BORDER, 1 - BORDER, (count, 2))


def is_near(positions: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Return which positions count as their goals, ``(N,)`` bool."""
    return np.linalg.norm(positions - goals, axis=1) < SUCCESS_RADIUS


def control(points: Points, targets: np.ndarray) -> np.ndarray:
    """Return the controller's accelerations towards ``targets``, ``(N, 2)``."""
    return PROPORTIONAL * (targets - points.positions) - DERIVATIVE * points.velocities


def rollout(points: Points, act: Callable[[np.ndarray], np.ndarray], limit: int) -> list[Trace]:
    """
    Return one episode of every point; it ends at the goal, when lost, or after ``limit`` steps.

    :param act: returns accelerations, ``(N, 2)``, for observations, ``(N, 6)``.
    """
    observations = [points.observe()]
    actions: list[np.ndarray] = []
    moving = ~points.success()
    lengths = np.zeros(len(points.goals), int)
    while moving.any() and len(actions) < limit:
        actions.append(np.asarray(act(observations[-1]), np.float32))
        points.step(actions[-1], moving)
        observations.append(points.observe())
        lengths += moving
        moving &= ~points.success() & (np.abs(points.positions) < LOST).all(axis=1)
    seen = np.array(observations)
    done = np.array(actions).reshape(-1, len(lengths), ACTION)
    return [
        Trace(seen[: length + 1, n], done[:length, n], success=bool(success))
        for n, (length, success) in enumerate(zip(lengths, points.success(), strict=True))
    ]


def demonstrate(count: int, waypoints: int, rng: np.random.Generator) -> list[Trace]:
    """Return ``count`` successful episodes that visit random waypoints before the goal."""
    found: list[Trace] = []
    while len(found) < count:
        missing = count - len(found)
        traces = _detours(Points(missing, rng), waypoints, rng)
        found += [trace for trace in traces if len(trace.observations) >= MIN_OBSERVATIONS]
    return found


def _detours(points: Points, waypoints: int, rng: np.random.Generator) -> list[Trace]:
    """Return one episode of each point through its waypoints, without a time limit."""
    count = len(points.goals)
    visited = np.zeros(count, int)
    targets = draw_goals(count, rng) if waypoints else points.goals.copy()

    def act(_: np.ndarray) -> np.ndarray:
        arrived = is_near(points.positions, targets)
        visited[arrived] += 1
        targets[arrived] = draw_goals(count, rng)[arrived]
        targets[visited >= waypoints] = points.goals[visited >= waypoints]
        return control(points, targets)

    traces = rollout(points, act, limit=100_000)
    last = control(points, targets).astype(np.float32)
    return [
        Trace(t.observations, np.concatenate([t.actions, last[n : n + 1]]), success=t.success)
        for n, t in enumerate(traces)
    ]
