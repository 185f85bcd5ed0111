"""Parameters of the policy nodes and of the policy server's node."""

from __future__ import annotations

from efm_core.config import config, parameter
from efm_core.shared_config import EmbodimentConfig, PolicyServerConfig, RobotNodeConfig
from efm_model.config import InferenceConfig


@config
class SamplingConfig(InferenceConfig):
    """How actions are drawn from a policy."""

    temperature: float = parameter(1.0, 'Sampling temperature; 0: greedy', '', 0.0, 10.0)


@config
class ReleaseConfig(SamplingConfig):
    """Which releases a node deploys."""

    release: str = parameter('', 'Directory of the first release; empty: wait for one')
    release_store: str = parameter(
        '', 'Folder of all releases that may be loaded; empty: the folder of the first release'
    )


@config
class PolicyConfig(ReleaseConfig, RobotNodeConfig):
    """How the policy node runs a release."""


@config
class RemotePolicyConfig(PolicyServerConfig, RobotNodeConfig):
    """How the policy node reaches the policy server."""

    server: str = parameter('', 'host:port of the policy server')
    token: str = parameter(
        '',
        "File with this robot's token, readable by its owner only; empty only for a server on "
        'this host',
    )
    robot: str = parameter('', 'Robot that the token belongs to; empty: the namespace')
    answer_timeout_s: float = parameter(
        2.0,
        'Longest wait for a reply without a deadline: in lockstep, and at the start of an episode',
        's',
        0.1,
        600.0,
    )


@config
class ServerConfig(ReleaseConfig, EmbodimentConfig):
    """How the policy server's node runs a release; ``ServingConfig`` has the connections."""
