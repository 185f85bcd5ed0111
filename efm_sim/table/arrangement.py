"""Random start scenes: tasks, block types and positions that keep their distances."""

from __future__ import annotations

import math

from efm_sim.table.language import COLOURS, SHAPES, Task
from efm_sim.table.scene import TOOL_LIMIT
import numpy as np

START_LIMIT = 0.13  # largest |x| and |y| of a block or the tool at a reset [m]
PLACE_OFFSET = 0.115  # distance of the outer places from the middle, per axis [m]
PUSHED_DISTANCES = (0.039, 0.085)  # from a pushed block to its target [m]; touching cubes: 0.038
TOOL_DISTANCES = (0.029, 0.05)  # from the tool to the block that it pushes [m]


def place_position(place: str) -> np.ndarray:
    """Return the centre of a named place on the table, ``(3,)`` float64 [m]."""
    x = PLACE_OFFSET * (('right' in place) - ('left' in place))
    y = PLACE_OFFSET * (('top' in place) - ('bottom' in place))
    return np.array([x, y, 0.0])


def draw_task(options: tuple[Task, ...], rng: np.random.Generator) -> Task:
    """Return a random task. Its kind is drawn first, so that both kinds are equally frequent."""
    kinds = sorted({task.kind for task in options})
    kind = kinds[rng.integers(len(kinds))]
    same = [task for task in options if task.kind == kind]
    return same[rng.integers(len(same))]


def draw_types(rng: np.random.Generator, wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return six block types: three cubes, then three cylinders, including ``wanted``."""
    drawn: list[str] = []
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
    Return random points in the start area that keep their distance, ``(N, 2)`` float64 [m].

    :param spacings: smallest distance of each point from all points before it [m].
    :param limit: largest absolute coordinate [m].
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


def draw_push(rng: np.random.Generator, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return a scene of a push that is nearly over: one block next to another, the tool behind it.

    :param blocks: positions, ``(N, 2)`` [m]. They do not change if no block has room.
    :return: positions of the blocks, ``(N, 2)``, and of the tool, ``(2,)`` [m].
    """
    for _ in range(20):
        source, target = rng.permutation(len(blocks))[:2]
        angle = rng.uniform(-math.pi, math.pi)
        there = blocks[target] + rng.uniform(*PUSHED_DISTANCES) * heading(angle)
        others = np.delete(blocks, [source, target], axis=0)
        if np.linalg.norm(others - there, axis=1).min() > PUSHED_DISTANCES[0]:
            blocks = blocks.copy()
            blocks[source] = there
            break
    behind = rng.uniform(*TOOL_DISTANCES) * heading(angle + rng.normal(0, 0.6))
    return blocks, blocks[source] + behind


def heading(angle: float) -> np.ndarray:
    """Return the unit vector of an angle [rad], ``(2,)``."""
    return np.array([math.cos(angle), math.sin(angle)])


def clear_of(tool: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Return the tool's position, ``(2,)`` [m], moved out of the blocks and into the workspace."""
    for block in blocks:
        offset = tool - block
        distance = np.linalg.norm(offset)
        if distance < 0.03:
            tool = block + offset * 0.031 / max(distance, 1e-9)
    return np.clip(tool, -TOOL_LIMIT, TOOL_LIMIT)
