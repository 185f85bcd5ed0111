"""What a scripted demonstrator receives: simulator truth of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, KW_ONLY
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scene:
    """
    One moment of a simulated world, for demonstrators and never for learning.

    :param positions: true positions by name, ``(3,)`` float64 each, as
        `efm_sim.world.PublishedWorld.positions` returns them.
    :param instruction: sentence of the task.
    :param info: newest info of a Gymnasium environment, as JSON has it; empty in other worlds.
    :param images: what the policy sees of each camera, ``(H, W, 3)`` uint8 RGB.
    """

    positions: Mapping[str, np.ndarray]
    instruction: str = ''
    _: KW_ONLY
    info: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[np.ndarray, ...] = ()
