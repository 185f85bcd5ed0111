"""Parameters of the guard."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What the guard needs to know."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    check_rate_hz: float = parameter(
        20.0,
        'Real time: rate at which a stale command is looked for and stopped',
        'Hz',
        1.0,
        200.0,
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
