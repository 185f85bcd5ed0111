"""The table as a Gymnasium environment: ``gymnasium.make('efm/Table-v0')``."""

from __future__ import annotations

import string
from typing import Any

from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
import gymnasium
from gymnasium import spaces
import numpy as np

LONGEST_INSTRUCTION = 200  # [characters]
CHARACTERS = string.ascii_letters + string.digits + string.punctuation + ' '
RENDER_FPS = 10  # one picture for each control step


class TableEnvironment(gymnasium.Env):
    """
    The same `Table` that the world node simulates.

    The reward is 1 on the step that reaches the goal, which ends the episode, and 0 before.
    """

    metadata = {'render_modes': ['rgb_array'], 'render_fps': RENDER_FPS}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        """
        Create the table.

        :param render_mode: ``rgb_array``, or None for no pictures.
        :param config: fields of `TableConfig`.
        :raises ValueError: when the configuration is invalid.
        """
        self.render_mode = render_mode
        self.table = Table(TableConfig(**config))
        size = self.table.config.image_size
        limit = self.table.config.max_action_m
        self.observation_space = spaces.Dict(
            {
                'image': spaces.Box(0, 255, (size, size, 3), np.uint8),
                'instruction': spaces.Text(LONGEST_INSTRUCTION, charset=CHARACTERS),
            }
        )
        self.action_space = spaces.Box(-limit, limit, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """
        Start an episode. Equal seeds give equal scenes.

        :param options: ``task`` and ``instruction``, as `Table.reset` takes them.
        """
        super().reset(seed=seed)
        scene = seed if seed is not None else int(self.np_random.integers(2**31))
        self.table.reset(scene, **(options or {}))
        return self._observation(), self._information()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Move the tool by ``action``, ``(2,)`` float32 [m]."""
        self.table.step(action)
        success = self.table.success()
        return self._observation(), float(success), success, False, self._information()

    def render(self) -> np.ndarray | None:
        """Return a presentation picture, ``(480, 640, 3)`` uint8 RGB; None without `rgb_array`."""
        return self.table.render_pretty() if self.render_mode == 'rgb_array' else None

    def close(self) -> None:
        """Free the graphics memory."""
        self.table.close()

    def _observation(self) -> dict:
        return {'image': self.table.render(), 'instruction': self.table.instruction}

    def _information(self) -> dict:
        return {'success': self.table.success(), 'distance_m': self.table.distance()}
