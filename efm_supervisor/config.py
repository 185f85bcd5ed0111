"""Parameters of the supervisor, the fleet and teleoperation."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    """What the supervisor needs to know."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    reward_enabled: bool = parameter(
        True, 'A reward node publishes steps-to-go; false while demonstrating'
    )
    recorder_enabled: bool = parameter(
        True, 'A recorder runs; an episode is over when its bag is on disk'
    )
    detector_ends_episode: bool = parameter(
        True, 'd <= s ends an episode; false while evaluating, apart from the detector'
    )
    stall_timeout_s: float = parameter(
        10.0, 'Fault when nothing moves an episode on for this long', 's', 0.1, 600.0
    )
    permit_duration_s: float = parameter(
        0.5, 'Real time: leave to move ends this long after it was last given', 's', 0.05, 5.0
    )
    tick_rate_hz: float = parameter(
        10.0, 'Rate of time-out checks and lease renewals', 'Hz', 1.0, 100.0
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class TeleoperationConfig:
    """What the teleoperation node needs to know."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    axes: str = parameter(
        '',
        'Component of the twist (x, y, z, roll, pitch, yaw) for each dimension of the action, '
        "divided by commas; empty for the embodiment's own axes",
    )
    twist_timeout_s: float = parameter(
        0.5, 'A twist older than this means to hold', 's', 0.05, 5.0
    )
    start_button: int = parameter(7, 'Begins an episode; -1 for none', '', -1, 63)
    success_button: int = parameter(3, 'The task is done; -1 for none', '', -1, 63)
    discard_button: int = parameter(1, 'Not to be learned from; -1 for none', '', -1, 63)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """What the fleet coordinator needs to know."""

    robots: str = parameter('robot_0', 'Namespaces of the robots, separated by commas')
    kind: str = parameter(
        'practice',
        'What the episodes are for',
        choices=('demonstration', 'practice', 'evaluation'),
    )
    results: str = parameter('', 'File that gets one JSON line per episode; empty for none')
    episodes: int = parameter(8, 'Episodes to run', 'episodes', 1, 1000000)
    only_successes: bool = parameter(False, 'Count only the episodes that were labelled a success')
    episodes_per_rollout: int = parameter(
        8, 'Practice: episodes between two looks at the trainer', 'episodes', 1, 10000
    )
    seed: int = parameter(0, 'Seed of the first episode; the next ones count up', '', 0, 2**40)
    max_steps: int = parameter(
        0,
        "Decisions (actions, or chunks) before timeout; 0 for the embodiment's",
        'steps',
        0,
        100000,
    )
    policy_version: int = parameter(0, 'Release that must act; 0 for the newest', '', 0, 2**31 - 1)
    wait_for_trainer: bool = parameter(False, 'A trainer runs: wait for it after every rollout')
    max_consecutive_faults: int = parameter(
        5, 'Give up after this many faults in a row', 'episodes', 1, 1000
    )
    ready_timeout_s: float = parameter(
        60.0, 'Give up when robots or trainer are not up after this long', 's', 1.0, 3600.0
    )
    stall_timeout_s: float = parameter(
        120.0, 'Give up when no episode ends and no release comes for this long', 's', 1.0, 36000.0
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
