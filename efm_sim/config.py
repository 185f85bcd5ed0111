"""Numbers of the simulated table, its scripted demonstrator, and the fake hardware driver."""

from __future__ import annotations

from dataclasses import dataclass, field

from efm_core.config import check, parameter

DEMONSTRATOR_TEXT = "Who demonstrates, `module:class`; empty for the table's own"


@dataclass(frozen=True)
class TableConfig:
    """What the simulated table is."""

    body: str = parameter(
        'arm',
        'What carries the tool: the 6-axis arm, or nothing (faster)',
        choices=('arm', 'tool'),
    )
    task: str = parameter(
        'both',
        'Tasks that are drawn at a reset',
        choices=('both', 'block_to_block', 'block_to_place'),
    )
    split: str = parameter(
        'train',
        'Vocabulary or task pairs that instructions are drawn from',
        choices=('train', 'phrasing', 'synonym', 'pairs'),
    )
    image_size: int = parameter(
        64, 'Height and width of the policy camera', unit='px', low=32, high=480
    )
    control_period_s: float = parameter(
        0.1, 'Simulated time of one control step', unit='s', low=0.02, high=1.0
    )
    substeps: int = parameter(10, 'Physics steps in one control step', low=1, high=100)
    max_action_m: float = parameter(
        0.025, 'Largest displacement per axis and control step', unit='m', low=0.001, high=0.05
    )
    success_distance_m: float = parameter(
        0.05, 'Success when source and target are nearer than this', unit='m', low=0.01, high=0.2
    )
    start_distance_m: float = parameter(
        0.1,
        'Source and target are at least this far apart at a reset',
        unit='m',
        low=0.05,
        high=0.2,
    )
    ik_iterations: int = parameter(
        1, 'Iterations of inverse kinematics per control step', low=1, high=10
    )
    objects: str = parameter(
        'blocks',
        'What lies on the table: six blocks, or one long bar that no training shows',
        choices=('blocks', 'bar'),
    )
    camera_turn_deg: float = parameter(
        0.0, 'How far the policy camera is turned around the table', 'deg', -180.0, 180.0
    )
    camera_rise_deg: float = parameter(
        0.0, 'How far it is raised towards straight above', 'deg', -45.0, 45.0
    )
    hue_deg: float = parameter(
        0.0, 'Turn of the colours of all blocks on the colour wheel', 'deg', -180.0, 180.0
    )
    light: float = parameter(1.0, 'Strength of all lamps, 1 as in training', '', 0.1, 2.0)
    surface: float = parameter(1.0, 'Brightness of the table top, 1 as in training', '', 0.1, 1.25)
    friction: float = parameter(0.4, 'Friction where tool and blocks touch', '', 0.0, 2.0)
    drag: float = parameter(
        1.0, 'Resistance of the table to what slides on it, 1 as in training', '', 0.02, 10.0
    )
    mass: float = parameter(1.0, 'Mass of what lies on the table, 1 as in training', '', 0.1, 20.0)
    latency_steps: int = parameter(
        0, 'Control steps before an action is executed', 'steps', low=0, high=20
    )

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when a value is out of range, success would hold at the start, or there
            is no such task with such objects.
        """
        check(self)
        if self.objects == 'bar' and (self.task == 'block_to_block' or self.split == 'pairs'):
            raise ValueError(
                'task: expected block_to_place, and a split with places, where no blocks are, '
                f'got {self.task}, split {self.split}'
            )
        if self.start_distance_m <= self.success_distance_m:
            raise ValueError(
                'start_distance_m: expected more than success_distance_m '
                f'({self.success_distance_m} m), '
                f'got {self.start_distance_m}'
            )


@dataclass(frozen=True)
class DemonstratorConfig:
    """How well, and how fast, the scripted demonstrator works."""

    noise: float = parameter(
        0.6,
        'Standard deviation of the noise on each action, as a share of max_action_m',
        low=0.0,
        high=2.0,
    )
    slowest: float = parameter(
        0.6, 'Slowest speed of an episode, as a share of max_action_m', low=0.1, high=1.0
    )
    fastest: float = parameter(
        1.0, 'Fastest speed of an episode, as a share of max_action_m', low=0.1, high=1.0
    )
    max_action_m: float = parameter(
        0.025, 'Largest displacement per axis and control step', unit='m', low=0.001, high=0.05
    )

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when a value is out of range or the speeds are the wrong way round.
        """
        check(self)
        if self.slowest > self.fastest:
            raise ValueError(
                f'slowest: expected at most fastest ({self.fastest}), got {self.slowest}'
            )


@dataclass(frozen=True)
class EnvironmentConfig:
    """
    A Gymnasium environment that plays a robot: the section `gymnasium` of an embodiment's file.

    A place is one of `render`, `reward`, `terminated`, `observation` and `info`, the last two with
    keys behind dots: `info.coverage`.

    :param kwargs: of ``gymnasium.make``.
    :param positions: names, each with the place of one to three numbers that are published as
        the positions of ``world_state``: what a demonstrator needs to see.
    """

    id: str = parameter('', '`module:name`: what is imported first, and what it has registered')
    kwargs: dict = field(default_factory=dict)
    pixels: str = parameter('render', 'Place of the picture')
    success: str = parameter('terminated', 'Place of the truth: yes or no, or a number')
    success_at: float = parameter(1.0, 'The task is done from this number on', '', -1e9, 1e9)
    instruction: str = parameter('', 'The sentence that says what is asked')
    instruction_from: str = parameter('', 'Instead, the place of the sentence after a reset')
    action: str = parameter(
        'same',
        "same: it has the robot's bounds; affine: they are mapped",
        choices=('same', 'affine'),
    )
    relative_to: str = parameter('', 'Place of the position that an action is added to; or none')
    repeat: int = parameter(1, 'Steps of the environment in one control step', 'steps', 1, 10000)
    positions: dict = field(default_factory=dict)
    demonstrator: str = parameter('', DEMONSTRATOR_TEXT)

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when one is out of range, or what is asked is said twice or never.
        """
        check(self)
        if not self.id:
            raise ValueError('id: expected what gymnasium.make takes, got nothing')
        if bool(self.instruction) == bool(self.instruction_from):
            raise ValueError(
                'instruction: expected either a sentence or instruction_from, '
                f'got {self.instruction!r} and {self.instruction_from!r}'
            )


@dataclass(frozen=True)
class WorldConfig:
    """What the world node needs to know beside the table's own numbers."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    lockstep: bool = parameter(False, 'Wait for the command of each observation')
    simulator: str = parameter(
        'mujoco',
        "The suite's table in MuJoCo or Gazebo, or what the embodiment's file names (gym)",
        choices=('mujoco', 'gazebo', 'gym'),
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True)
class DemonstratorNodeConfig:
    """What the demonstrator node needs to know beside the demonstrator's own numbers."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    lockstep: bool = parameter(False, 'The world waits for the command of each observation')
    demonstrator: str = parameter('', DEMONSTRATOR_TEXT)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True)
class FakeDriverConfig:
    """How the fake hardware driver behaves; its own limits, not the embodiment's."""

    embodiment: str = parameter('', 'YAML file of the embodiment')
    rate_hz: float = parameter(100.0, 'Rate of control, joint_states and tf', 'Hz', 1.0, 1000.0)
    latency_s: float = parameter(
        0.02, 'Time from a command to the first motion for it', 's', 0.0, 2.0
    )
    drop_rate: float = parameter(0.0, 'Part of the commands that never arrive', '', 0.0, 1.0)
    seed: int = parameter(0, 'Seed of which are lost', '', 0, 2**31 - 1)
    max_age_s: float = parameter(
        0.1, 'A command whose stamp is older is refused', 's', 0.001, 10.0
    )
    watchdog_s: float = parameter(
        0.5, 'It stops when no command came for this long', 's', 0.01, 60.0
    )
    position_limit: float = parameter(
        2.9, 'Largest position of a joint, both ways', 'rad', 0.1, 7.0
    )
    velocity_limit: float = parameter(2.0, 'Largest speed of a joint', 'rad/s', 0.01, 10.0)
    gripper_speed: float = parameter(0.2, 'Speed of the gripper', 'rad/s or m/s', 0.001, 10.0)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
