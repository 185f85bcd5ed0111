"""Parameters of the simulated driver."""

from __future__ import annotations

from efm_core.config import config, parameter
from efm_core.shared_config import EmbodimentConfig


@config
class FakeDriverConfig(EmbodimentConfig):
    """How the simulated driver behaves; its limits are independent of the embodiment's."""

    rate_hz: float = parameter(100.0, 'Rate of control, joint_states and tf', 'Hz', 1.0, 1000.0)
    latency_s: float = parameter(0.02, 'Delay from a command to its motion', 's', 0.0, 2.0)
    drop_rate: float = parameter(0.0, 'Fraction of the commands that are lost', '', 0.0, 1.0)
    seed: int = parameter(0, 'Seed of the choice of lost commands', '', 0, 2**31 - 1)
    max_age_s: float = parameter(
        0.1, 'Reject a command whose stamp is older than this', 's', 0.001, 10.0
    )
    watchdog_s: float = parameter(0.5, 'Stop after this time without a command', 's', 0.01, 60.0)
    position_limit: float = parameter(
        2.9, 'Largest position of a joint, in both directions', 'rad', 0.1, 7.0
    )
    velocity_limit: float = parameter(2.0, 'Largest speed of a joint', 'rad/s', 0.01, 10.0)
    gripper_speed: float = parameter(0.2, 'Speed of the gripper', 'rad/s or m/s', 0.001, 10.0)
