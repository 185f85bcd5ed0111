"""Numbers of the policy node."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter
from efm_model.config import PROVIDER_TEXT, PROVIDERS


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class RemotePolicyConfig:
    """What the policy node needs to know where the policy is elsewhere."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    server: str = parameter('', 'The policy server that acts, host:port')
    server_ca: str = parameter(
        '', "PEM file that the server's certificate is checked against; empty only on its own host"
    )
    token: str = parameter(
        '', "File for its owner only with this robot's token; empty only on the server's own host"
    )
    robot: str = parameter('', 'Name that the token is for; empty for the namespace')
    answer_timeout_s: float = parameter(
        2.0,
        'Longest wait for the server where no deadline says it: in lockstep, and to begin',
        's',
        0.1,
        600.0,
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What the policy server's node needs to know beside ``ServingConfig``."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    release: str = parameter('', 'Directory of the release to start with; empty waits for one')
    text_encoder: str = parameter(
        '', 'Directory of the exported sentence encoder; empty finds or makes it'
    )
    temperature: float = parameter(1.0, 'Sampling temperature; 0 is greedy', '', 0.0, 10.0)
    provider: str = parameter('auto', PROVIDER_TEXT, choices=PROVIDERS)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
