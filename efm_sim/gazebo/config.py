"""Parameters of the table in Gazebo, besides those that it shares with the table in MuJoCo."""

from __future__ import annotations

from efm_core.config import config, copy_field, parameter
from efm_core.shared_config import EmbodimentConfig
from efm_sim.table.config import TableConfig


@config
class GazeboConfig:
    """How Gazebo Classic simulates the table."""

    gazebo_step_s: float = parameter(0.002, 'Physics step of Gazebo', 's', 0.0001, 0.005)
    gazebo_iterations: int = parameter(
        50, "Iterations of Gazebo's constraint solver in a physics step", '', 10, 1000
    )
    gazebo_patience_s: float = parameter(
        120.0, 'Longest wait for gzserver to start, and for each of its replies', 's', 5.0, 600.0
    )


@config
class DriverConfig(EmbodimentConfig):
    """How the driver of the arm in Gazebo Harmonic resets the table."""

    task: str = copy_field(TableConfig, 'task')
    settle_s: float = parameter(
        2.0, 'Time for the arm to reach its start pose at a reset', 's', 0.0, 60.0
    )
    service_timeout_s: float = parameter(
        5.0, 'Longest wait for Gazebo to place the blocks', 's', 0.1, 60.0
    )
