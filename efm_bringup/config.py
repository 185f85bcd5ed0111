"""What a run of the node graph needs to know: options of `efm`, arguments of ``ros2 launch``."""

from __future__ import annotations

from dataclasses import dataclass
import re

from efm_core.config import check, expect, parameter

NAMESPACE = re.compile(r'/?([A-Za-z_]\w*(/[A-Za-z_]\w*)*)?/?')


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """What a run of the graph needs to know; the same words for `efm` and for launch."""

    run: str = parameter('runs/run', 'Directory of the run: bags, checkpoints, releases, report')
    embodiment: str = parameter('', "YAML file of the embodiment; empty for the suite's table_arm")
    world: str = parameter(
        'mujoco',
        "Who plays the world; gym: what the embodiment's file names; real: the robot runs already",
        choices=('mujoco', 'gazebo', 'gym', 'real'),
    )
    fleet: int = parameter(2, 'Robots', 'robots', 1, 8)
    source: str = parameter(
        'demonstrator',
        'Who demonstrates: the scripted teacher, a person, or a node of yours (other)',
        choices=('demonstrator', 'teleoperation', 'other'),
    )
    lockstep: bool = parameter(
        True,
        'The world waits for the command of each observation, as fast as the machine allows; '
        'never with a real robot or a person at the controls',
    )
    body: str = parameter('arm', 'What carries the tool in simulation', choices=('arm', 'tool'))
    task: str = parameter(
        'both', 'Tasks in simulation', choices=('both', 'block_to_block', 'block_to_place')
    )
    episodes: int = parameter(8, 'Episodes to run', 'episodes', 1, 1000000)
    seed: int = parameter(0, 'Seed of the first episode', '', 0, 2**40)
    max_steps: int = parameter(
        0,
        "Decisions (actions, or chunks) before timeout; 0 for the embodiment's",
        'steps',
        0,
        100000,
    )
    episodes_subdir: str = parameter(
        '', 'Folder of the bags in the run; empty for the kind of episode'
    )
    policy_version: int = parameter(0, 'Release that acts; 0 for the newest', '', 0, 2**31 - 1)
    preset: str = parameter('default', 'Numbers of stage 2', choices=('default', 'paper'))
    text_encoder: str = parameter('', 'Directory of the exported sentence encoder')
    server: str = parameter(
        '', 'host:port of the policy server that acts; empty acts on the robots themselves'
    )
    server_ca: str = parameter(
        '', "PEM file that the server's certificate is checked against; empty only on its own host"
    )
    auth_tokens: str = parameter(
        '', "Folder with a file for each robot, named for it, that holds the robot's token"
    )
    namespace: str = parameter('', 'Namespace of the whole fleet; robots are in it as robot_0 ...')
    use_sim_time: str = parameter(
        'auto',
        "Nodes follow the world's clock; auto: when it simulates",
        choices=('auto', 'true', 'false'),
    )
    params_file: str = parameter('', 'YAML file of parameters, on top of what the graph gives')
    autostart: bool = parameter(
        True, 'Lifecycle nodes configure and activate by themselves; else somebody else does it'
    )
    use_composition: bool = parameter(
        False, 'Not possible, and refused: Python nodes are a process each'
    )
    use_respawn: bool = parameter(False, 'A node that died is started again, but for the fleet')
    log_level: str = parameter(
        'info',
        'Least severe message that is logged',
        choices=('debug', 'info', 'warn', 'error', 'fatal'),
    )

    def __post_init__(self):
        """
        Refuse a value out of range.

        :raises ValueError: naming the field, what was expected and what came.
        """
        check(self)
        expect(
            NAMESPACE.fullmatch(self.namespace) is not None,
            'namespace',
            'words of letters, digits and _, divided by /',
            repr(self.namespace),
        )
        expect(
            not self.use_composition,
            'use_composition',
            "false: a component container cannot load Python nodes, and a guard in the policy's "
            'process would die with it',
            self.use_composition,
        )

    @property
    def simulated_time(self) -> bool:
        """Whether nodes follow a simulated clock."""
        return self.use_sim_time == 'true' or (
            self.use_sim_time == 'auto' and self.world != 'real'
        )
