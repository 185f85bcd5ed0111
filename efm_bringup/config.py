"""Options of a run of the node graph, for `efm` and for ``ros2 launch``."""

from __future__ import annotations

import re

from efm_core.config import config, copy_field, expect, parameter
from efm_core.shared_config import (
    DetectorGateConfig,
    EpisodesConfig,
    PolicyServerConfig,
    PresetConfig,
    RunConfig,
    TextEncoderConfig,
)
from efm_sim.table.config import TableConfig

NAMESPACE = re.compile(r'/?([A-Za-z_]\w*(/[A-Za-z_]\w*)*)?/?')
SCRIPTED = 'scripted'
TELEOPERATION = 'teleoperation'
OTHER = 'other'


@config
class GraphConfig(RunConfig):
    """Options of a run of the node graph: the same names for `efm` and for launch."""

    world: str = parameter(
        'mujoco',
        'World; gym: named by the embodiment; real: a running robot',
        choices=('mujoco', 'gazebo', 'gym', 'real'),
    )
    num_robots: int = parameter(2, 'Number of robots', 'robots', 1, 8, flag='fleet')
    demonstrator: str = parameter(
        SCRIPTED,
        'Source of demonstrations; other: your own node',
        choices=(SCRIPTED, TELEOPERATION, OTHER),
    )
    lockstep: bool = parameter(
        True,
        'The simulated world waits for each command; ignored with a real robot or an operator',
    )
    body: str = copy_field(TableConfig, 'body')
    task: str = copy_field(TableConfig, 'task')
    episodes: int = copy_field(EpisodesConfig, 'episodes')
    seed: int = copy_field(EpisodesConfig, 'seed')
    max_steps: int = copy_field(EpisodesConfig, 'max_steps')
    episodes_subdir: str = parameter(
        '', 'Folder of the bags inside the run, name of an evaluation; empty: the kind of episode'
    )
    policy_version: int = copy_field(EpisodesConfig, 'policy_version')
    preset: str = copy_field(PresetConfig, 'preset')
    min_precision: float = copy_field(DetectorGateConfig, 'min_precision')
    on_alarm: str = copy_field(DetectorGateConfig, 'on_alarm')
    text_encoder: str = copy_field(TextEncoderConfig, 'text_encoder')
    server: str = parameter(
        '', 'host:port of the policy server; empty: each robot runs its own policy'
    )
    server_ca: str = copy_field(PolicyServerConfig, 'server_ca')
    auth_tokens: str = parameter(
        '', 'Folder with one token file for each robot, named for the robot'
    )
    namespace: str = parameter(
        '', 'Namespace of the whole fleet; it contains robot_0, robot_1, ...'
    )
    use_sim_time: str = parameter(
        'auto',
        'Nodes use simulated time; auto: in simulated worlds',
        choices=('auto', 'true', 'false'),
    )
    params_file: str = parameter(
        '', 'YAML file of ROS parameters; they override those of the graph'
    )
    autostart: bool = parameter(True, 'Lifecycle nodes configure and activate themselves')
    use_composition: bool = parameter(
        False, 'Refused when true: each Python node needs its own process'
    )
    use_respawn: bool = parameter(False, 'Restart a node that died, except the fleet node')
    log_level: str = parameter(
        'info',
        'Lowest severity that is logged',
        choices=('debug', 'info', 'warn', 'error', 'fatal'),
    )

    def validate(self) -> None:
        """
        Check the namespace, and that no composition is requested.

        :raises ValueError: with the option, what was expected and what was given.
        """
        expect(
            NAMESPACE.fullmatch(self.namespace) is not None,
            'namespace',
            'words of letters, digits and _, separated by /',
            repr(self.namespace),
        )
        expect(
            not self.use_composition,
            'use_composition',
            'false, because a component container cannot load Python nodes, and a guard in the '
            "policy's process would end with it",
            self.use_composition,
        )

    @property
    def simulated_time(self) -> bool:
        """Whether nodes use simulated time."""
        return self.use_sim_time == 'true' or (
            self.use_sim_time == 'auto' and self.world != 'real'
        )
