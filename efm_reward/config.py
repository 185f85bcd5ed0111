"""Parameters of the reward node."""

from __future__ import annotations

from efm_core.config import config, parameter
from efm_core.shared_config import RobotNodeConfig
from efm_model.config import InferenceConfig


@config
class RewardConfig(InferenceConfig, RobotNodeConfig):
    """Which reward model the node runs."""

    release: str = parameter('', 'Directory of the release that contains the reward model')
