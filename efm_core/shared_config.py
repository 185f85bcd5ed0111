"""Fields that the configurations of several packages share: each is written once, here."""

from __future__ import annotations

from efm_core.config import config, parameter


@config
class EmbodimentConfig:
    """Configuration of a node that needs the embodiment."""

    embodiment: str = parameter('', 'YAML file of the embodiment')


@config
class RobotNodeConfig(EmbodimentConfig):
    """Configuration of a node that takes part in the episodes of one robot."""

    lockstep: bool = parameter(
        False, 'The simulated world waits for the command of each observation'
    )


@config
class RunConfig:
    """The directory of a run, and its robot."""

    run: str = parameter('runs/run', 'Directory of the run: bags, checkpoints, releases, report')
    embodiment: str = parameter('', 'YAML file of the embodiment; empty: the simulated table arm')


@config
class EpisodesConfig:
    """The episodes of a fleet."""

    episodes: int = parameter(8, 'Number of episodes', 'episodes', 1, 1_000_000)
    seed: int = parameter(0, 'Seed of the first episode; later episodes count up', '', 0, 2**40)
    max_steps: int = parameter(
        0,
        "Decisions (actions or chunks) before time-out; 0: the embodiment's",
        'steps',
        0,
        100_000,
    )
    policy_version: int = parameter(0, 'Release to deploy; 0: the newest', '', 0, 2**31 - 1)


@config
class RewardEnabledConfig:
    """Whether the reward model runs."""

    reward_enabled: bool = parameter(
        True, 'A reward node publishes steps-to-go; false while recording demonstrations'
    )


@config
class PresetConfig:
    """The learning parameters of stage 2."""

    preset: str = parameter(
        'default', 'Learning parameters of stage 2', choices=('default', 'paper')
    )


@config
class DetectorGateConfig:
    """When practice may begin, and when it stops."""

    min_precision: float = parameter(
        0.9,
        'Smallest precision of the success detector on held-out episodes with which practice '
        'begins; 0: any',
        '',
        0.0,
        1.0,
    )
    on_alarm: str = parameter(
        'stop',
        'What practice does when the detector fires more often and the second reward model '
        'agrees less; stop: it ends with an error',
        choices=('stop', 'continue'),
    )


@config
class TextEncoderConfig:
    """The sentence encoder."""

    text_encoder: str = parameter(
        '', 'Directory of the exported sentence encoder; empty: find or make it'
    )


@config
class PolicyServerConfig:
    """How robots verify the policy server."""

    server_ca: str = parameter(
        '',
        "PEM file that verifies the server's certificate; empty only for a server on this host",
    )
