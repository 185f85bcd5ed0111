"""Parameters of the world node and of the demonstrator node."""

from __future__ import annotations

from efm_core.config import config, copy_field, parameter
from efm_core.shared_config import RobotNodeConfig
from efm_sim.gym.config import EnvironmentConfig


@config
class WorldConfig(RobotNodeConfig):
    """Which world the node simulates; ``TableConfig`` has the table's own parameters."""

    simulator: str = parameter(
        'mujoco',
        'Simulator of the table (mujoco, gazebo), or the environment that the embodiment names '
        '(gym)',
        choices=('mujoco', 'gazebo', 'gym'),
    )


@config
class DemonstratorNodeConfig(RobotNodeConfig):
    """Which scripted demonstrator the node runs."""

    demonstrator: str = copy_field(EnvironmentConfig, 'demonstrator')
