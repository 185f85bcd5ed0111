"""Numbers of the reward node."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter
from efm_model.config import PROVIDER_TEXT, PROVIDERS


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What the reward node needs to know."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    release: str = parameter('', 'Directory of the release whose reward model judges')
    text_encoder: str = parameter(
        '', 'Directory of the exported sentence encoder; empty finds or makes it'
    )
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    provider: str = parameter('auto', PROVIDER_TEXT, choices=PROVIDERS)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
