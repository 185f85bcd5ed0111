"""
The world of the authors' pointmass notebook, many episodes at once: a point, a goal, a controller.

Letters: ``N`` episodes. Positions are in a square from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY

import numpy as np

SUCCESS_RADIUS = 0.15
SUBSTEPS = 10  # of physics in one step
# gains of the controller
PROPORTIONAL = 2e-4
DERIVATIVE = 1.25e-2
BORDER = 0.1  # goals keep this far from the edge
LOST = 10.0  # further than this from the middle a point never comes back
FEWEST = 10  # a demonstration of fewer observations is thrown away
ACTION = 2
OBSERVATION = 6  # position, velocity, goal


class Points:
    """``N`` points and their goals; ``positions``, ``velocities`` and ``goals`` are (N, 2)."""

    def __init__(self, count: int, rng: np.random.Generator):
        self.goals = draw_goals(count, rng)
        self.positions = rng.uniform(-1, 1, (count, 2))
        self.velocities = np.zeros((count, 2))

    def step(self, actions: np.ndarray, moving: np.ndarray) -> None:
        """Accelerate the points that are ``moving``, (N,) bool, by ``actions``, (N, 2)."""
        for _ in range(SUBSTEPS):
            self.velocities[moving] += actions[moving]
            self.positions[moving] += self.velocities[moving]

    def observe(self) -> np.ndarray:
        """Return position, velocity and goal, (N, 6) float32."""
        parts = (self.positions, self.velocities, self.goals)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def success(self) -> np.ndarray:
        """Return which points are at their goals, (N,) bool."""
        return is_near(self.positions, self.goals)


@dataclass(frozen=True)
class Trace:
    """
    One episode.

    :param observations: (T + 1, 6) float32.
    :param actions: (T, 2) float32, or one more for a demonstration, as in the notebook.
    :param success: whether it ended at the goal.
    """

    observations: np.ndarray
    actions: np.ndarray
    _: KW_ONLY
    success: bool

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.observations) - 1


def draw_goals(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return random goals, (count, 2)."""
    return rng.uniform(-1 + BORDER, 1 - BORDER, (count, 2))


def is_near(positions: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Return which positions are as good as their goals, (N,) bool."""
    return np.linalg.norm(positions - goals, axis=1) < SUCCESS_RADIUS


def control(points: Points, aims: np.ndarray) -> np.ndarray:
    """Return the controller's accelerations towards ``aims``, (N, 2)."""
    return PROPORTIONAL * (aims - points.positions) - DERIVATIVE * points.velocities


def rollout(points: Points, act: Callable[[np.ndarray], np.ndarray], limit: int) -> list[Trace]:
    """
    Return one episode of every point, until it is at its goal or lost, or for ``limit`` steps.

    :param act: accelerations, (N, 2), of observations, (N, 6).
    """
    observations = [points.observe()]
    actions = []
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
    """Return ``count`` successful episodes that visit random ``waypoints`` before the goal."""
    found = []
    while len(found) < count:
        missing = count - len(found)
        traces = _detours(Points(missing, rng), waypoints, rng)
        found += [trace for trace in traces if len(trace.observations) >= FEWEST]
    return found


def _detours(points: Points, waypoints: int, rng: np.random.Generator) -> list[Trace]:
    """Drive each point by way of its waypoints; there is no limit of time."""
    count = len(points.goals)
    visited = np.zeros(count, int)
    aims = draw_goals(count, rng) if waypoints else points.goals.copy()

    def act(_: np.ndarray) -> np.ndarray:
        arrived = is_near(points.positions, aims)
        visited[arrived] += 1
        aims[arrived] = draw_goals(count, rng)[arrived]
        aims[visited >= waypoints] = points.goals[visited >= waypoints]
        return control(points, aims)

    traces = rollout(points, act, limit=100_000)
    last = control(points, aims).astype(np.float32)
    return [
        Trace(t.observations, np.concatenate([t.actions, last[n : n + 1]]), success=t.success)
        for n, t in enumerate(traces)
    ]
