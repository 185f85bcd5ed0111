"""Numbers of the table in Gazebo, beside those that it shares with the one in MuJoCo."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
class GazeboConfig:
    """What only the table in Gazebo needs to know."""

    gazebo_step_s: float = parameter(0.002, 'Physics step of Gazebo', 's', 0.0001, 0.005)
    gazebo_iterations: int = parameter(
        50, "Iterations of Gazebo's constraint solver in a physics step", '', 10, 1000
    )
    gazebo_patience_s: float = parameter(
        120.0, 'Longest time that gzserver may take to start, or to answer', 's', 5.0, 600.0
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class DriverConfig:
    """What the driver of the arm in Gazebo Harmonic needs to know."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    task: str = parameter(
        'both', 'Tasks that are drawn', choices=('both', 'block_to_block', 'block_to_place')
    )
    settle_s: float = parameter(
        2.0, 'Time in which the arm comes to its start at a reset', 's', 0.0, 60.0
    )
    service_timeout_s: float = parameter(
        5.0, 'Longest time that Gazebo may take to put the blocks down', 's', 0.1, 60.0
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
