"""Parameters of the simulated table and of its scripted demonstrator."""

from __future__ import annotations

from efm_core.config import config, copy_field, parameter


@config
class TableConfig:
    """Scene, physics, camera and tasks of the simulated table."""

    body: str = parameter(
        'arm',
        'Body that carries the tool in simulation; tool: none, which is faster',
        choices=('arm', 'tool'),
    )
    task: str = parameter(
        'both',
        'Tasks in simulation',
        choices=('both', 'block_to_block', 'block_to_place'),
    )
    split: str = parameter(
        'train',
        'Vocabulary or task pairs of the instructions',
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
        0.05,
        'Largest distance between source and target at which the task is done',
        unit='m',
        low=0.01,
        high=0.2,
    )
    start_distance_m: float = parameter(
        0.1, 'Smallest distance between source and target at a reset', unit='m', low=0.05, high=0.2
    )
    ik_iterations: int = parameter(
        1, 'Iterations of inverse kinematics per control step', low=1, high=10
    )
    objects: str = parameter(
        'blocks',
        'Objects on the table: six blocks, or one long bar that is in no training data',
        choices=('blocks', 'bar'),
    )
    camera_turn_deg: float = parameter(
        0.0, 'Rotation of the policy camera around the table', 'deg', -180.0, 180.0
    )
    camera_rise_deg: float = parameter(
        0.0, 'Rotation of the policy camera upwards, towards the vertical', 'deg', -45.0, 45.0
    )
    hue_deg: float = parameter(
        0.0, 'Rotation of the colours of all blocks on the colour wheel', 'deg', -180.0, 180.0
    )
    light: float = parameter(1.0, 'Brightness of all lamps; 1: as in training', '', 0.1, 2.0)
    surface: float = parameter(
        1.0, 'Brightness of the table top; 1: as in training', '', 0.1, 1.25
    )
    friction: float = parameter(
        0.4, 'Coefficient of friction between tool and blocks', '', 0.0, 2.0
    )
    drag: float = parameter(
        1.0, 'Resistance of the table to sliding objects; 1: as in training', '', 0.02, 10.0
    )
    mass: float = parameter(1.0, 'Mass of the objects; 1: as in training', '', 0.1, 20.0)
    latency_steps: int = parameter(
        0, 'Delay from an action to its execution', 'control steps', low=0, high=20
    )

    def validate(self) -> None:
        """
        Check that the tasks fit the objects, and that no episode begins at its goal.

        :raises ValueError: when they do not.
        """
        if self.objects == 'bar' and (self.task == 'block_to_block' or self.split == 'pairs'):
            raise ValueError(
                'task: expected block_to_place, and a split with places, with --objects bar, '
                f'got {self.task}, split {self.split}'
            )
        if self.start_distance_m <= self.success_distance_m:
            raise ValueError(
                'start_distance_m: expected more than success_distance_m '
                f'({self.success_distance_m} m), got {self.start_distance_m}'
            )


@config
class DemonstratorConfig:
    """Noise and speed of the scripted demonstrator."""

    noise: float = parameter(
        0.6,
        'Standard deviation of the noise on each action, as a fraction of max_action_m',
        low=0.0,
        high=2.0,
    )
    slowest: float = parameter(
        0.6, 'Lowest speed of an episode, as a fraction of max_action_m', low=0.1, high=1.0
    )
    fastest: float = parameter(
        1.0, 'Highest speed of an episode, as a fraction of max_action_m', low=0.1, high=1.0
    )
    max_action_m: float = copy_field(TableConfig, 'max_action_m')

    def validate(self) -> None:
        """
        Check the order of the speeds.

        :raises ValueError: when ``slowest`` is above ``fastest``.
        """
        if self.slowest > self.fastest:
            raise ValueError(
                f'slowest: expected at most fastest ({self.fastest}), got {self.slowest}'
            )
