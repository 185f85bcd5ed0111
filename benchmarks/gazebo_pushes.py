"""
Distance between the tables in Gazebo Classic and in MuJoCo after the same push.

A third of the pushes moves a cube, a third a cylinder, and a third a cube into another block. The
last line is one JSON object with distances in mm.
"""

from __future__ import annotations

import argparse
import json
import math

from efm_sim.gazebo.world import GazeboTable
from efm_sim.table.arrangement import heading
from efm_sim.table.language import Task
from efm_sim.table.world import Table
import numpy as np

TYPES = ('red_cube', 'blue_cube', 'green_cube', 'red_cylinder', 'blue_cylinder', 'green_cylinder')
AWAY = np.array([(0, 0), (-0.15, 0.15), (0, 0.15), (0.15, 0.15), (-0.15, -0.15), (0.15, -0.15)])
KINDS = ('cube', 'cylinder', 'into_another')
STEPS = 7  # control steps of a push
SPEED = 0.018  # [m] per step


def main() -> None:
    """Push, compare, and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pushes', type=int, default=18, help='number of pushes (default 18)')
    options = parser.parse_args()
    rng = np.random.default_rng(5)
    tables = (GazeboTable(), Table())
    found: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    try:
        for index in range(options.pushes):
            kind = KINDS[index % len(KINDS)]
            found[kind].append(push(tables, kind, rng))
    finally:
        tables[0].close()
    print(json.dumps({kind: summary(np.array(rows)) for kind, rows in found.items() if rows}))


def push(tables: tuple[Table, Table], kind: str, rng: np.random.Generator) -> list[float]:
    """Return the distances of blocks and of tools after a push, and MuJoCo's travel [mm]."""
    angle = rng.uniform(-math.pi, math.pi)
    blocks = AWAY.copy()
    ahead = heading(angle)
    aside = heading(angle + math.pi / 2)
    pushed = 3 if kind == 'cylinder' else 0
    blocks[[0, pushed]] = blocks[[pushed, 0]]
    if kind == 'into_another':
        blocks[1] = 0.05 * ahead + rng.uniform(-0.01, 0.01) * aside
    tool = -0.045 * ahead + rng.uniform(-0.012, 0.012) * aside
    scene = (TYPES, blocks, rng.uniform(-math.pi, math.pi, len(TYPES)), tool)
    for table in tables:
        table.reset(0, Task('red_cube', 'right'))
        table.arrange(*scene)
        for _ in range(STEPS):
            table.step(np.float32(SPEED * ahead))
    places = [np.array(list(table.block_positions().values())) for table in tables]
    tools = [table.tool_position() for table in tables]
    return [
        1000 * float(np.linalg.norm(places[0] - places[1], axis=1).max()),
        1000 * float(np.linalg.norm(tools[0] - tools[1])),
        1000 * float(np.linalg.norm(places[1][pushed][:2] - blocks[pushed])),
    ]


def summary(rows: np.ndarray) -> dict[str, float]:
    """Return median and largest distance of the blocks, largest of the tool, and mean travel."""
    blocks, tool, way = rows.T
    numbers = {
        'median': np.median(blocks),
        'largest': blocks.max(),
        'tool_largest': tool.max(),
        'way': way.mean(),
    }
    return {name: round(float(number), 2) for name, number in numbers.items()}


if __name__ == '__main__':
    main()
