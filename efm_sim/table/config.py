"""Parameters of the simulated table and of its scripted demonstrator."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
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
