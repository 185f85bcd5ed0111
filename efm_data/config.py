"""Parameters of the recorder."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    """What the recorder needs to know."""

    embodiment: str = parameter(
        '', "YAML file of the embodiment, for what its driver takes; empty for the table's"
    )
    episodes_dir: str = parameter('spool', 'Folder that gets one sub-folder per kind of episode')
    episodes_subdir: str = parameter('', 'Name of that sub-folder, if not the kind of the episode')
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    reward_enabled: bool = parameter(
        True, 'A reward node publishes steps-to-go; false while demonstrating'
    )
    require_world_state: bool = parameter(
        False, 'A simulator publishes world_state; without the last one a bag is not whole'
    )
    record_camera_images: bool = parameter(
        False, 'Also keep the raw camera pictures, not only what the policy saw of them'
    )
    receive_history: bool = parameter(
        True,
        'Ask also for what was said before the sender was heard of; it must offer transient local',
    )
    completion_timeout_s: float = parameter(
        5.0, 'Wait this long for the last messages of an episode', 's', 0.1, 60.0
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
