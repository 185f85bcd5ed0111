"""
Control steps per second of the table in Gazebo Classic and in MuJoCo, in turns.

The last line is one JSON object. ``--picture`` also writes one scene as both simulators render it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import time

import cv2
from efm_sim.gazebo.world import GazeboTable
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
import numpy as np

PICTURE_SEED = 3
PICTURE_SIZE = 320


def main() -> None:
    """Measure, and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--steps', type=int, default=200, help='control steps in a turn (default 200)'
    )
    parser.add_argument(
        '--rounds', type=int, default=3, help='turns of each simulator (default 3)'
    )
    parser.add_argument(
        '--picture', type=Path, help='write one scene from both simulators to this PNG file'
    )
    options = parser.parse_args()
    if options.picture:
        draw(options.picture)
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name in ('mujoco', 'gazebo'):
            for key, value in measure(name, options.steps).items():
                found.setdefault(f'{name}_{key}', []).append(value)
    print(json.dumps({key: round(float(np.median(value)), 4) for key, value in found.items()}))


def measure(simulator: str, steps: int) -> dict[str, float]:
    """Return the start-up time [s] and the steps per second, without and with rendering."""
    started = time.perf_counter()
    table = GazeboTable() if simulator == 'gazebo' else Table(TableConfig())
    table.render()
    ready = time.perf_counter()
    try:
        return {
            'start_s': ready - started,
            'steps_per_s': steps / timed(table, steps, is_rendered=False),
            'drawn_steps_per_s': steps / timed(table, steps, is_rendered=True),
        }
    finally:
        table.close()


def timed(table: Table, steps: int, is_rendered: bool) -> float:
    """Return the time of random control steps [s]."""
    rng = np.random.default_rng(0)
    table.reset(0)
    started = time.perf_counter()
    for _ in range(steps):
        table.step(rng.uniform(-0.025, 0.025, 2).astype(np.float32))
        if is_rendered:
            table.render()
    return time.perf_counter() - started


def draw(path: Path) -> None:
    """Write one scene to ``path``: MuJoCo left, Gazebo right, large and as the policy sees it."""
    rows = []
    for size in (64, PICTURE_SIZE):
        table = GazeboTable(TableConfig(image_size=size))
        try:
            table.reset(PICTURE_SEED)
            pictures = [table.render_in_mujoco(), table.render()]
        finally:
            table.close()
        large = (PICTURE_SIZE, PICTURE_SIZE)
        rows.append(
            np.hstack([cv2.resize(p, large, interpolation=cv2.INTER_NEAREST) for p in pictures])
        )
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows[::-1]), cv2.COLOR_RGB2BGR))


if __name__ == '__main__':
    main()
