"""Numbers of the table in Gazebo, beside those that it shares with the one in MuJoCo."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True)
class GazeboConfig:
    """What only the table in Gazebo needs to know."""

    gazebo_step_s: float = parameter(0.001, 'Physics step of Gazebo', 's', 0.0001, 0.005)
    gazebo_iterations: int = parameter(
        50, "Iterations of Gazebo's constraint solver in a physics step", '', 10, 1000
    )
    gazebo_patience_s: float = parameter(
        120.0, 'Longest time that gzserver may take to start, or to answer', 's', 5.0, 600.0
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
