"""Parameters of the world node and of the demonstrator node."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter
from efm_sim.gym.config import DEMONSTRATOR_TEXT


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """What the world node needs to know beside the table's own numbers."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    lockstep: bool = parameter(False, 'Wait for the command of each observation')
    simulator: str = parameter(
        'mujoco',
        "The suite's table in MuJoCo or Gazebo, or what the embodiment's file names (gym)",
        choices=('mujoco', 'gazebo', 'gym'),
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class DemonstratorNodeConfig:
    """What the demonstrator node needs to know beside the demonstrator's own numbers."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    demonstrator: str = parameter('', DEMONSTRATOR_TEXT)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
