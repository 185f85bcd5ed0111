"""
The node graph: the nodes of a run, with their namespaces, parameters and remappings.

Both ``launch/*.launch.py`` (through launch_ros) and commands such as ``efm practice`` (through a
process manager) start this graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, KW_ONLY, replace
import os
from pathlib import Path
from typing import Any

from efm_bringup.config import GraphConfig, OTHER, SCRIPTED, TELEOPERATION
from efm_bringup.parameter_file import read_rules, select
from efm_core import topics
from efm_core.config import expect
from efm_core.embodiment import load_embodiment, load_simulation, SIMULATION
from efm_core.embodiment_files import find_embodiment
from efm_release.release import find_release_directory
from efm_sim.gym.config import EnvironmentConfig

# Executables that setup.py installs, and their modules.
EXECUTABLES = {
    'policy_node': 'efm_policy.node',
    'remote_policy_node': 'efm_policy.remote_node',
    'server_node': 'efm_policy.server_node',
    'reward_node': 'efm_reward.node',
    'supervisor_node': 'efm_supervisor.node',
    'guard_node': 'efm_guard.node',
    'guard_watch_node': 'efm_guard.watch_node',
    'recorder_node': 'efm_data.recorder_node',
    'fleet_node': 'efm_supervisor.fleet_node',
    'teleoperation_node': 'efm_supervisor.teleoperation_node',
    'world_node': 'efm_sim.node',
    'fake_driver_node': 'efm_sim.fake_arm.node',
    'gazebo_driver_node': 'efm_sim.gazebo.driver_node',
    'demonstrator_node': 'efm_sim.demonstrator_node',
    'trainer_node': 'efm_trainer.node',
}
RECORD = 'record'
PRACTICE = 'practice'
EVALUATE = 'evaluate'
MODES = (RECORD, PRACTICE, EVALUATE)
KINDS = {RECORD: 'demonstration', PRACTICE: 'practice', EVALUATE: 'evaluation'}
SHARED = ('server', 'trainer', 'fleet')  # nodes that exist once for all robots
RESPAWN_DELAY_S = 2.0
# Parameters of the fleet node when an operator starts nodes or demonstrates.
OPERATOR_TIMEOUTS = {'ready_timeout_s': 3600.0, 'stall_timeout_s': 36000.0}


@dataclass(frozen=True)
class NodeSpec:
    """
    One node, from which ``launch_ros.actions.Node`` or a command line is made.

    :param executable: a key of ``EXECUTABLES``.
    :param namespace: without a leading slash.
    :param respawn: whether the node starts again after it died.
    """

    executable: str
    name: str
    _: KW_ONLY
    namespace: str = ''
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    respawn: bool = False

    @property
    def full_name(self) -> str:
        """Namespace and name, without a leading slash."""
        return f'{self.namespace}/{self.name}'.lstrip('/')


def node_environment() -> dict[str, str]:
    """Return the environment variables that each node gets on top of its launcher's."""
    return {'EFM_LAUNCHER': str(os.getpid()), 'OMP_NUM_THREADS': '1'}


def results_path(config: GraphConfig, mode: str) -> Path:
    """Return the file that gets one line per episode."""
    return Path(config.run) / 'results' / f'{config.episodes_subdir or KINDS[mode]}.jsonl'


def bags_path(config: GraphConfig, mode: str) -> Path:
    """Return the folder that gets one bag per episode."""
    return Path(config.run) / 'episodes' / (config.episodes_subdir or KINDS[mode])


def make_graph(mode: str, config: GraphConfig) -> list[NodeSpec]:
    """
    Return all nodes of a run.

    :param mode: ``record``, ``practice`` or ``evaluate``.
    :raises FileNotFoundError: when the robots need a release and there is none.
    :raises ValueError: when the world has no scripted demonstrator, the trainer would not find the
        bags, or the file of parameters is not valid.
    """
    if mode == PRACTICE and config.episodes_subdir not in ('', KINDS[PRACTICE]):
        raise ValueError(
            f'episodes_subdir: expected none, because the trainer reads {KINDS[mode]}, '
            f'got {config.episodes_subdir}'
        )
    robots = [f'robot_{index}' for index in range(config.num_robots)]
    names = robot_nodes(mode, config)
    return [
        *(make_node(name, mode, config, robot) for robot in robots for name in names),
        *(make_node(name, mode, config) for name in fleet_nodes(mode)),
    ]


def robot_nodes(mode: str, config: GraphConfig) -> list[str]:
    """
    Return the names of the nodes that each robot has.

    :raises ValueError: when a real robot would have a scripted demonstrator.
    """
    world = [] if config.world == 'real' else ['world']
    watch = ['guard_watch'] if _needs_guard_watch(config) else []
    return [*world, *_actors(mode, config), 'guard', *watch, 'supervisor', 'recorder']


def _needs_guard_watch(config: GraphConfig) -> bool:
    """Return whether the driver of a real robot goes on when the guard is killed or frozen."""
    if config.world != 'real':
        return False
    return load_embodiment(find_embodiment(config.embodiment)).command.needs_guard_watch


def fleet_nodes(mode: str) -> list[str]:
    """Return the names of the nodes that all robots share."""
    return ['trainer', 'fleet'] if mode == PRACTICE else ['fleet']


def _actors(mode: str, config: GraphConfig) -> list[str]:
    """Return the demonstrator's node, or the nodes of the policy and the reward model."""
    if mode != RECORD:
        return ['policy', 'reward']
    if config.demonstrator == SCRIPTED and config.world == 'real':
        raise ValueError(
            f'demonstrator: expected {TELEOPERATION} or {OTHER} for a real robot, because the '
            f'scripted demonstrator needs a simulated world, got {SCRIPTED}'
        )
    return {SCRIPTED: ['demonstrator'], TELEOPERATION: ['teleoperation'], OTHER: []}[
        config.demonstrator
    ]


def make_node(name: str, mode: str, config: GraphConfig, robot: str = 'robot_0') -> NodeSpec:
    """
    Return one node by its name.

    :param name: a key of ``PARAMETERS``.
    :param robot: namespace of the robot; ignored for a node that exists once for all robots.
    :raises FileNotFoundError: when the node needs a release and there is none.
    """
    shared = name in SHARED
    top = config.namespace.strip('/')
    namespace = top if shared else f'{top}/{robot}'.strip('/')
    executable = f'{name}_node'
    parameters = PARAMETERS[name](mode, config)
    if name == 'policy' and config.server:
        executable = 'remote_policy_node'
        parameters = _remote(mode, config, robot)
    parameters = {**_lifecycle(name, config), **parameters}
    node = NodeSpec(
        executable,
        name,
        namespace=namespace,
        parameters=parameters,
        remappings=() if shared else _remappings(top, config),
        respawn=config.use_respawn and name != 'fleet',
    )
    if not config.params_file:
        return node
    own = select(read_rules(config.params_file, tuple(PARAMETERS)), f'/{node.full_name}')
    return replace(node, parameters={**parameters, **own})


def _lifecycle(name: str, config: GraphConfig) -> dict[str, Any]:
    """Return the common parameters of the lifecycle nodes; the fleet node has no lifecycle."""
    if name == 'fleet':
        return {}
    return {'use_sim_time': config.simulated_time, 'autostart': config.autostart}


def _remappings(top: str, config: GraphConfig) -> tuple[tuple[str, str], ...]:
    release = topics.POLICY_RELEASE.name
    own_clock = () if config.world == 'real' else (('/clock', 'clock'),)
    return ((release, f'/{top}/{release}'.replace('//', '/')), *own_clock)


def _is_lockstep(mode: str, config: GraphConfig) -> bool:
    """Return whether the world runs in lockstep; a robot or an operator needs real time."""
    by_operator = mode == RECORD and config.demonstrator == TELEOPERATION
    return config.lockstep and config.world != 'real' and not by_operator


def _with_embodiment(mode: str, config: GraphConfig) -> dict[str, Any]:
    return {'embodiment': str(find_embodiment(config.embodiment))}


def _with_lockstep(mode: str, config: GraphConfig) -> dict[str, Any]:
    return {**_with_embodiment(mode, config), 'lockstep': _is_lockstep(mode, config)}


def _demonstrator(mode: str, config: GraphConfig) -> dict[str, Any]:
    """Return the demonstrator's parameters; an environment names its own in its section."""
    common = _with_lockstep(mode, config)
    if config.world != 'gym':
        return common
    own = load_simulation(common['embodiment'], EnvironmentConfig).demonstrator
    if not own:
        raise ValueError(
            f'demonstrator: expected {TELEOPERATION} or {OTHER}, or a `demonstrator` in the '
            f'section {SIMULATION} of {common["embodiment"]}, got none'
        )
    return {**common, 'demonstrator': own}


def _driver(mode: str, config: GraphConfig) -> dict[str, Any]:
    """Return a driver's parameters; it runs in real time with any world."""
    return {**_with_embodiment(mode, config), 'use_sim_time': config.use_sim_time == 'true'}


def _world(mode: str, config: GraphConfig) -> dict[str, Any]:
    expect(config.world != 'real', 'world', 'a simulated one', config.world)
    own = {'simulator': config.world, 'body': config.body, 'task': config.task}
    return {**_with_lockstep(mode, config), **own}


def _with_release(mode: str, config: GraphConfig) -> dict[str, Any]:
    return {
        **_with_lockstep(mode, config),
        'release': str(find_release_directory(config.run, config.policy_version)),
        'text_encoder': config.text_encoder,
    }


def _policy(mode: str, config: GraphConfig) -> dict[str, Any]:
    return {} if config.server else _with_release(mode, config)


def _remote(mode: str, config: GraphConfig, robot: str) -> dict[str, Any]:
    return {
        **_with_lockstep(mode, config),
        'server': config.server,
        'server_ca': config.server_ca,
        'token': str(Path(config.auth_tokens).absolute() / robot) if config.auth_tokens else '',
        'robot': robot,
    }


def _server(mode: str, config: GraphConfig) -> dict[str, Any]:
    parameters = _with_release(mode, config)
    return {key: parameters[key] for key in ('embodiment', 'release', 'text_encoder')}


def _supervisor(mode: str, config: GraphConfig) -> dict[str, Any]:
    own = {'reward_enabled': mode != RECORD, 'detector_ends_episode': mode != EVALUATE}
    return {**_with_lockstep(mode, config), **own}


def _recorder(mode: str, config: GraphConfig) -> dict[str, Any]:
    return {
        **_with_lockstep(mode, config),
        'episodes_dir': str(Path(config.run).absolute() / 'episodes'),
        'episodes_subdir': config.episodes_subdir,
        'reward_enabled': mode != RECORD,
        'require_world_state': config.world != 'real',
        'receive_history': mode != RECORD or config.demonstrator != OTHER,
    }


def _trainer(mode: str, config: GraphConfig) -> dict[str, Any]:
    return {
        **_with_embodiment(mode, config),
        'run': str(Path(config.run).absolute()),
        'text_encoder': config.text_encoder,
        'preset': config.preset,
        'min_precision': config.min_precision,
        'on_alarm': config.on_alarm,
    }


def _fleet(mode: str, config: GraphConfig) -> dict[str, Any]:
    top = config.namespace.strip('/')
    robots = (f'{top}/robot_{index}'.strip('/') for index in range(config.num_robots))
    has_operator = not config.autostart or (mode == RECORD and config.demonstrator != SCRIPTED)
    is_resumed = mode == EVALUATE and bool(config.episodes_subdir)
    return {
        'robots': ','.join(robots),
        'kind': KINDS[mode],
        'results': str(results_path(config, mode).absolute()),
        'episodes': config.episodes,
        'max_steps': config.max_steps,
        'only_successes': mode == RECORD,
        'seed': config.seed,
        'policy_version': _deployed_version(config) if is_resumed else config.policy_version,
        'resume': is_resumed,
        'wait_for_trainer': mode == PRACTICE,
        **(OPERATOR_TIMEOUTS if has_operator else {}),
    }


def _deployed_version(config: GraphConfig) -> int:
    """Return the release that acts; a policy server chooses its own, unless one is asked for."""
    if config.server:
        return config.policy_version
    return int(find_release_directory(config.run, config.policy_version).name)


PARAMETERS: dict[str, Callable[[str, GraphConfig], dict[str, Any]]] = {
    'world': _world,
    'fake_driver': _driver,
    'demonstrator': _demonstrator,
    'teleoperation': _with_embodiment,
    'gazebo_driver': _driver,
    'policy': _policy,
    'server': _server,
    'reward': _with_release,
    'guard': _with_lockstep,
    'guard_watch': _with_embodiment,
    'supervisor': _supervisor,
    'recorder': _recorder,
    'trainer': _trainer,
    'fleet': _fleet,
}
