"""Numbers of the policy node."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter
from efm_model.config import PROVIDER_TEXT, PROVIDERS


@dataclass(frozen=True)
class PolicyConfig:
    """What the policy node needs to know."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    release: str = parameter('', 'Directory of the release to start with; empty waits for one')
    text_encoder: str = parameter(
        '', 'Directory of the exported sentence encoder; empty finds or makes it'
    )
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    temperature: float = parameter(1.0, 'Sampling temperature; 0 is greedy', '', 0.0, 10.0)
    provider: str = parameter('auto', PROVIDER_TEXT, choices=PROVIDERS)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
