"""Parameters of the simulated hardware driver."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
class FakeDriverConfig:
    """How the fake hardware driver behaves; its own limits, not the embodiment's."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    rate_hz: float = parameter(100.0, 'Rate of control, joint_states and tf', 'Hz', 1.0, 1000.0)
    latency_s: float = parameter(
        0.02, 'Time from a command to the first motion for it', 's', 0.0, 2.0
    )
    drop_rate: float = parameter(0.0, 'Part of the commands that never arrive', '', 0.0, 1.0)
    seed: int = parameter(0, 'Seed of which are lost', '', 0, 2**31 - 1)
    max_age_s: float = parameter(
        0.1, 'A command whose stamp is older is refused', 's', 0.001, 10.0
    )
    watchdog_s: float = parameter(
        0.5, 'It stops when no command came for this long', 's', 0.01, 60.0
    )
    position_limit: float = parameter(
        2.9, 'Largest position of a joint, both ways', 'rad', 0.1, 7.0
    )
    velocity_limit: float = parameter(2.0, 'Largest speed of a joint', 'rad/s', 0.01, 10.0)
    gripper_speed: float = parameter(0.2, 'Speed of the gripper', 'rad/s or m/s', 0.001, 10.0)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
