"""Parameters of the supervisor, fleet and teleoperation nodes."""

from __future__ import annotations

from efm_core.config import config, parameter
from efm_core.shared_config import (
    EmbodimentConfig,
    EpisodesConfig,
    RewardEnabledConfig,
    RobotNodeConfig,
)


@config
class SupervisorConfig(RewardEnabledConfig, RobotNodeConfig):
    """How the supervisor runs the episodes of one robot."""

    recorder_enabled: bool = parameter(
        True, 'A recorder runs; an episode is complete when its bag is on disk'
    )
    detector_ends_episode: bool = parameter(
        True,
        'The success detector (d <= s) ends an episode; false: it only sets the outcome at the '
        'time limit, as in evaluations',
    )
    stall_timeout_s: float = parameter(
        10.0, 'End an episode as a fault after this time without progress', 's', 0.1, 600.0
    )
    silence_timeout_s: float = parameter(
        0.0,
        'Real time: end an episode as a fault when policy, reward model, guard or camera is '
        'silent for this time; 0: one decision and three action lifetimes',
        's',
        0.0,
        600.0,
    )
    reset_timeout_s: float = parameter(
        30.0,
        'End an episode as a fault when the world has not answered its reset after this time; 0: '
        'wait without limit, for a person who resets the scene',
        's',
        0.0,
        3600.0,
    )
    permit_duration_s: float = parameter(
        0.5,
        'Real time: validity of a permit after its last renewal; the guard keeps to max_permit_s',
        's',
        0.05,
        5.0,
    )
    tick_rate_hz: float = parameter(
        10.0, 'Rate of time-out checks and permit renewals', 'Hz', 1.0, 100.0
    )


@config
class TeleoperationConfig(EmbodimentConfig):
    """How an operator's twists and buttons become actions and episodes."""

    axes: str = parameter(
        '',
        'Component of the twist (x, y, z, roll, pitch, yaw) for each dimension of the action, '
        "separated by commas; empty: the embodiment's command.axes",
    )
    twist_timeout_s: float = parameter(
        0.5, 'Hold the robot when the last twist is older than this', 's', 0.05, 5.0
    )
    start_button: int = parameter(7, 'Button that begins an episode; -1: none', '', -1, 63)
    success_button: int = parameter(
        3, 'Button that ends an episode as a success; -1: none', '', -1, 63
    )
    discard_button: int = parameter(
        1, 'Button that ends an episode as a failure, never learned from; -1: none', '', -1, 63
    )


@config
class FleetConfig(EpisodesConfig):
    """Which episodes the fleet node assigns to which robots."""

    robots: str = parameter('robot_0', 'Namespaces of the robots, separated by commas')
    kind: str = parameter(
        'practice', 'Kind of the episodes', choices=('demonstration', 'practice', 'evaluation')
    )
    results: str = parameter('', 'File that gets one JSON line per episode; empty: none')
    resume: bool = parameter(
        False, 'Count the finished episodes of the results file; run only the missing ones'
    )
    only_successes: bool = parameter(False, 'Count only episodes with the outcome success')
    episodes_per_rollout: int = parameter(
        8, 'Episodes between two waits for the trainer, in practice', 'episodes', 1, 10000
    )
    wait_for_trainer: bool = parameter(False, 'Wait for the trainer after each rollout')
    max_consecutive_faults: int = parameter(
        5, 'Give up after this many faults in a row', 'episodes', 1, 1000
    )
    ready_timeout_s: float = parameter(
        60.0, 'Give up when robots or trainer are not ready after this time', 's', 1.0, 3600.0
    )
    stall_timeout_s: float = parameter(
        120.0,
        'Give up after this time without a finished episode or a new trainer status',
        's',
        1.0,
        36000.0,
    )
