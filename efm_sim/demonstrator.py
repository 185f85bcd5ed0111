"""The protocol of a scripted demonstrator, how to load one by name, and its actions."""

from __future__ import annotations

import importlib
from typing import cast, Protocol

from efm_core.action import PolicyAction
from efm_core.tokeniser import ActionTokeniser
from efm_sim.scene import Scene
from efm_sim.table.config import DemonstratorConfig
from efm_sim.table.demonstrator import TableDemonstrator
import numpy as np


class Demonstrator(Protocol):
    """
    Shows a task with simulator truth, such as `TableDemonstrator`.

    A class with the attribute ``exact = True`` acts in finer values than the policy's levels. One
    whose attribute ``is_perturbed`` is true after ``act`` has made a deliberate mistake, which
    behaviour cloning does not imitate. See `action_of`.
    """

    def begin(self, seed: int, /) -> None:
        """Start an episode. All random draws of the episode depend on ``seed`` only."""

    def act(self, scene: Scene, /) -> np.ndarray:
        """Return the next action, ``(A,)`` float32, units of the embodiment."""
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
            'demonstrator: expected `module:class` on PYTHONPATH that can be constructed, '
            f'got {name!r}: {error}'
        ) from error


def action_of(
    demonstrator: Demonstrator, scene: Scene, tokeniser: ActionTokeniser
) -> PolicyAction:
    """
    Return the action that a robot executes for a demonstrator, and that its bag holds.

    Its values are those of the nearest tokens. The values of an exact demonstrator stay as they
    are, beside the nearest tokens.
    """
    values = np.asarray(demonstrator.act(scene), np.float32)
    tokens = tokeniser.encode(values)
    is_exact = getattr(demonstrator, 'exact', False)
    return PolicyAction(
        tokens,
        values if is_exact else tokeniser.decode(tokens),
        is_perturbation=is_perturbed(demonstrator),
    )


def is_perturbed(demonstrator: Demonstrator) -> bool:
    """Return whether the newest action of a demonstrator is a deliberate mistake."""
    return bool(getattr(demonstrator, 'is_perturbed', False))
