"""
The node graph: which nodes run, where, with which parameters.

The one description behind ``launch/*.launch.py`` (through launch_ros) and ``efm practice``
(through a process manager).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efm_bringup.run import find_embodiment
from efm_core import topics
from efm_core.config import check, parameter

# Executables as setup.py installs them, and the modules behind them.
EXECUTABLES = {
    'policy_node': 'efm_policy.node',
    'remote_policy_node': 'efm_policy.remote_node',
    'server_node': 'efm_policy.server_node',
    'reward_node': 'efm_reward.node',
    'supervisor_node': 'efm_supervisor.node',
    'guard_node': 'efm_supervisor.guard_node',
    'recorder_node': 'efm_supervisor.recorder_node',
    'fleet_node': 'efm_supervisor.fleet_node',
    'world_node': 'efm_sim.node',
    'fake_driver_node': 'efm_sim.fake_driver_node',
    'gazebo_driver_node': 'efm_gazebo.driver_node',
    'demonstrator_node': 'efm_sim.demonstrator_node',
    'trainer_node': 'efm_trainer.node',
}
NAMES = {'remote_policy_node': 'policy'}  # where it is not the executable's own
RECORD, PRACTICE, EVALUATE = 'record', 'practice', 'evaluate'
KINDS = {RECORD: 'demonstration', PRACTICE: 'practice', EVALUATE: 'evaluation'}


@dataclass(frozen=True)
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
    lockstep: bool = parameter(
        True, 'The world waits for the command of each observation, as fast as the machine allows'
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
    folder: str = parameter('', 'Folder of the bags in the run; empty for the kind of episode')
    version: int = parameter(0, 'Release that acts; 0 for the newest', '', 0, 2**31 - 1)
    preset: str = parameter('default', 'Numbers of stage 2', choices=('default', 'paper'))
    text_encoder: str = parameter('', 'Directory of the exported sentence encoder')
    server: str = parameter(
        '', 'host:port of the policy server that acts; empty acts on the robots themselves'
    )
    server_ca: str = parameter(
        '', "PEM file that the server's certificate is checked against; empty only on its own host"
    )
    tokens: str = parameter(
        '', "Folder with a file for each robot, named for it, that holds the robot's token"
    )
    log_level: str = parameter(
        'info',
        'Least severe message that is logged',
        choices=('debug', 'info', 'warn', 'error', 'fatal'),
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


@dataclass(frozen=True)
class NodeSpec:
    """One node: what both ``launch_ros.actions.Node`` and a command line can be made from."""

    executable: str
    name: str
    namespace: str = ''
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()

    @property
    def full_name(self) -> str:
        """Namespace and name, without a leading slash."""
        return f'{self.namespace}/{self.name}'.lstrip('/')


def results_path(config: GraphConfig, mode: str) -> Path:
    """Return the file that gets one line per episode."""
    return Path(config.run) / 'results' / f'{config.folder or KINDS[mode]}.jsonl'


def release_directory(config: GraphConfig) -> Path:
    """
    Return the release that robots start with: the one named, else the newest.

    :raises FileNotFoundError: when there is none.
    """
    folder = Path(config.run).absolute() / 'releases'
    found = sorted(path for path in folder.glob('[0-9]*') if path.is_dir())
    if config.version:
        found = [path for path in found if int(path.name) == config.version]
    if not found:
        raise FileNotFoundError(
            f'release: expected version {config.version or "1 or newer"} in {folder}, got none; '
            'make one with `efm train`'
        )
    return found[-1]


def make_graph(mode: str, config: GraphConfig) -> list[NodeSpec]:
    """
    Return every node of a run.

    :param mode: ``record`` (a demonstrator acts), ``practice`` or ``evaluate``.
    :raises FileNotFoundError: when robots would have no release to act with.
    :raises ValueError: when there is nobody who could demonstrate in this world, or the trainer
        would look for the bags elsewhere.
    """
    if mode == PRACTICE and config.folder not in ('', KINDS[PRACTICE]):
        raise ValueError(
            f'folder: expected none, since the trainer reads {KINDS[mode]}, got {config.folder}'
        )
    nodes = [
        node for index in range(config.fleet) for node in _robot(mode, config, f'robot_{index}')
    ]
    if mode == PRACTICE:
        nodes.append(_trainer(config))
    return [*nodes, _fleet(mode, config)]


def _robot(mode: str, config: GraphConfig, namespace: str) -> list[NodeSpec]:
    """Return the nodes of one robot; all names inside are relative."""
    common = {'embodiment': str(find_embodiment(config.embodiment)), 'lockstep': config.lockstep}
    judged = mode != RECORD
    spool = str(Path(config.run).absolute() / 'episodes')
    nodes = [
        *([('world_node', {**common, **_world(config)})] if config.world != 'real' else []),
        *(_actors(mode, config, common, namespace)),
        ('guard_node', common),
        ('supervisor_node', {**common, 'judged': judged, 'detector_ends': mode != EVALUATE}),
        (
            'recorder_node',
            {
                'embodiment': common['embodiment'],
                'spool': spool,
                'folder': config.folder,
                'lockstep': config.lockstep,
                'judged': judged,
            },
        ),
    ]
    remappings = (
        (topics.POLICY_RELEASE.name, f'/{topics.POLICY_RELEASE.name}'),
        ('/clock', 'clock'),
    )
    return [
        NodeSpec(
            executable,
            NAMES.get(executable) or executable.replace('_node', ''),
            namespace,
            parameters,
            remappings,
        )
        for executable, parameters in nodes
    ]


def _world(config: GraphConfig) -> dict[str, Any]:
    return {'simulator': config.world, 'body': config.body, 'task': config.task}


def _actors(mode: str, config: GraphConfig, common: dict, robot: str) -> list[tuple[str, dict]]:
    """Return who acts and who judges: a demonstrator alone, or the learned pair."""
    if mode == RECORD and config.world == 'gym':
        raise ValueError('world: expected one that the demonstrator knows, mujoco; got gym')
    if mode == RECORD:
        return [('demonstrator_node', common)]
    learned = {
        **common,
        'release': str(release_directory(config)),
        'text_encoder': config.text_encoder,
    }
    if not config.server:
        return [('policy_node', learned), ('reward_node', learned)]
    remote = {
        **common,
        'server': config.server,
        'server_ca': config.server_ca,
        'token': str(Path(config.tokens).absolute() / robot) if config.tokens else '',
        'robot': robot,
    }
    return [('remote_policy_node', remote), ('reward_node', learned)]


def _trainer(config: GraphConfig) -> NodeSpec:
    return NodeSpec(
        'trainer_node',
        'trainer',
        '',
        {
            'embodiment': str(find_embodiment(config.embodiment)),
            'run': str(Path(config.run).absolute()),
            'text_encoder': config.text_encoder,
            'preset': config.preset,
        },
    )


def _fleet(mode: str, config: GraphConfig) -> NodeSpec:
    return NodeSpec(
        'fleet_node',
        'fleet',
        '',
        {
            'robots': ','.join(f'robot_{index}' for index in range(config.fleet)),
            'kind': KINDS[mode],
            'results': str(results_path(config, mode).absolute()),
            'episodes': config.episodes,
            'max_steps': config.max_steps,
            'only_successes': mode == RECORD,
            'seed': config.seed,
            'policy_version': config.version,
            'trained': mode == PRACTICE,
        },
    )
