"""Parameters of the recorder node."""

from __future__ import annotations

from efm_core.config import config, copy_field, parameter
from efm_core.shared_config import RewardEnabledConfig, RobotNodeConfig, RunConfig


@config
class RecorderConfig(RewardEnabledConfig, RobotNodeConfig):
    """Which topics the recorder records, and where it writes the bags."""

    embodiment: str = copy_field(RunConfig, 'embodiment')
    episodes_dir: str = parameter('episodes', 'Directory of the bags, with one folder per kind')
    episodes_subdir: str = parameter(
        '', 'Folder of the bags in episodes_dir; empty: named for the kind of episode'
    )
    require_world_state: bool = parameter(
        False, 'Wait for the last world_state; without it a bag is incomplete (simulated worlds)'
    )
    record_camera_images: bool = parameter(
        False, "Record the camera's images too, besides the policy's input"
    )
    receive_history: bool = parameter(
        True,
        'Request the history of durable topics; their publishers must be transient local',
    )
    completion_timeout_s: float = parameter(
        5.0, 'Longest wait for the last messages of an episode', 's', 0.1, 60.0
    )
