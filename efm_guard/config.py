"""Parameters of the guard node."""

from __future__ import annotations

from efm_core.config import config, parameter
from efm_core.shared_config import RobotNodeConfig


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
