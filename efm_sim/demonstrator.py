"""The protocol of a scripted demonstrator, and how to load one by name."""

from __future__ import annotations

from collections.abc import Mapping
import importlib
from typing import cast, Protocol

from efm_sim.table.config import DemonstratorConfig
from efm_sim.table.demonstrator import TableDemonstrator
import numpy as np


class Demonstrator(Protocol):
    """Shows a task with simulator truth, such as `TableDemonstrator`."""

    def begin(self, seed: int, /) -> None:
        """Start an episode. All random draws of the episode depend on ``seed`` only."""

    def act(self, positions: Mapping[str, np.ndarray], /) -> np.ndarray:
        """
        Return the next action, ``(A,)`` float32, units of the embodiment.

        :param positions: true positions, as `efm_sim.world.PublishedWorld.positions` returns them.
        """
        ...


def load_demonstrator(name: str, config: DemonstratorConfig | None = None) -> Demonstrator:
    """
    Return a new demonstrator.

    :param name: ``module:class``, whose constructor needs no arguments. Empty: the demonstrator of
        the simulated table.
    :param config: parameters of the demonstrator of the simulated table; None for the defaults.
    :raises ValueError: when the class cannot be imported or constructed, with the reason.
    """
    if not name:
        return TableDemonstrator(config or DemonstratorConfig())
    module, _, class_name = name.partition(':')
    try:
        return cast(Demonstrator, getattr(importlib.import_module(module), class_name)())
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(
            f'demonstrator: expected `module:class` that can be constructed, got {name!r}: {error}'
        ) from error
