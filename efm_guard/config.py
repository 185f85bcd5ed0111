"""Parameters of the guard node, and of the process that watches it."""

from __future__ import annotations

from efm_core.config import config, parameter
from efm_core.shared_config import EmbodimentConfig, RobotNodeConfig


@config
class GuardConfig(RobotNodeConfig):
    """How the guard watches its commands."""

    check_rate_hz: float = parameter(
        20.0, 'Real time: rate at which the guard checks for a stale command', 'Hz', 1.0, 200.0
    )
    stop_timeout_s: float = parameter(
        1.0,
        'At shutdown: wait this long for the driver to acknowledge the last command, stop',
        's',
        0.0,
        10.0,
    )


@config
class GuardWatchConfig(EmbodimentConfig):
    """When the second process stops the robot in the place of the guard."""

    delay_s: float = parameter(
        0.2,
        'Time after action_lifetime_s in which the guard itself must have stopped the robot',
        's',
        0.05,
        10.0,
    )
    check_rate_hz: float = parameter(20.0, 'Rate of the checks', 'Hz', 1.0, 200.0)
