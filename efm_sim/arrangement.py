"""Where things may be at the start: random draws that keep the rules."""

from __future__ import annotations

import math

from efm_sim.language import COLOURS, SHAPES, Task
from efm_sim.scene import TOOL_LIMIT
import numpy as np

START_LIMIT = 0.13  # largest |x| and |y| of a block or the tool at a reset [m]
PLACE_OFFSET = 0.115  # distance of the outer places from the middle, per axis [m]


def place_position(place: str) -> np.ndarray:
    """Return the middle of a named place on the table, (3,) float64 [m]."""
    x = PLACE_OFFSET * (('right' in place) - ('left' in place))
    y = PLACE_OFFSET * (('top' in place) - ('bottom' in place))
    return np.array([x, y, 0.0])


def draw_task(options: tuple[Task, ...], rng: np.random.Generator) -> Task:
    """Return a task: first which kind, then which one, so that both kinds are as frequent."""
    kinds = sorted({task.kind for task in options})
    kind = kinds[rng.integers(len(kinds))]
    same = [task for task in options if task.kind == kind]
    return same[rng.integers(len(same))]


def draw_types(rng: np.random.Generator, wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return six block types, three cubes, then three cylinders, the wanted ones included."""
    drawn = []
    for shape in SHAPES:
        fixed = [name for name in wanted if name.endswith(shape)]
        others = [f'{COLOURS[index]}_{shape}' for index in rng.permutation(len(COLOURS))]
        chosen = fixed + [name for name in others if name not in fixed]
        drawn += [chosen[index] for index in rng.permutation(3)]
    return tuple(drawn)


def draw_apart(
    rng: np.random.Generator, spacings: list[float], limit: float = START_LIMIT
) -> np.ndarray:
    """
    Return random points in the start area that keep their distance, (N, 2) float64 [m].

    :param spacings: smallest distance of each point from all points before it [m].
    """
    while True:
        points = np.empty((0, 2))
        for spacing in spacings:
            candidates = rng.uniform(-limit, limit, (30, 2))
            gaps = np.linalg.norm(candidates[:, None] - points, axis=-1).min(
                axis=1, initial=math.inf
            )
            if gaps.max() < spacing:
                break
            points = np.concatenate([points, candidates[np.argmax(gaps >= spacing)][None]])
        else:
            return points


def clear_of(tool: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Return the tool's position moved out of any block, and into its workspace, (2,) [m]."""
    for block in blocks:
        offset = tool - block
        distance = np.linalg.norm(offset)
        if distance < 0.03:
            tool = block + offset * 0.031 / max(distance, 1e-9)
    return np.clip(tool, -TOOL_LIMIT, TOOL_LIMIT)
