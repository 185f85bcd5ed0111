"""One node graph, whether `ros2 launch` or `efm` starts it; without `launch` itself."""

from __future__ import annotations

import ast
import dataclasses
from importlib import import_module
from itertools import pairwise
import re
import sys
from types import ModuleType, SimpleNamespace

from efm_bringup import graph
from efm_bringup.config import GraphConfig
from efm_bringup.graph import (
    EXECUTABLES,
    make_graph,
    make_node,
    MODES,
    PARAMETERS,
    PRACTICE,
)
from efm_bringup.parameter_file import read_rules
from efm_bringup.processes import to_command
from efm_core.config import flag_of
from efm_core.embodiment_files import find_embodiment
from efm_policy.serving.config import ServingConfig
from efm_sim.table.config import DemonstratorConfig, TableConfig
from efm_supervisor.config import FleetConfig
from efm_trainer.config import PracticeConfig
import pytest
from sources import ROOT
import yaml

NODES = tuple(PARAMETERS)
ALONE = ('fake_driver', 'gazebo_driver', 'server', 'guard_watch')  # started beside a graph
# What a node declares beside its own config; the fleet node has no lifecycle.
FURTHER = {
    'world_node': (TableConfig,),
    'demonstrator_node': (DemonstratorConfig,),
    'trainer_node': (PracticeConfig,),
    'server_node': (ServingConfig,),
    'fleet_node': (FleetConfig,),
}


class Made:
    """Anything that a launch description is made of: it keeps what it was given."""

    def __init__(self, *args, **kwargs):
        self.args = args
        self.kwargs = kwargs


class DeclareLaunchArgument(Made):
    """Stands for an argument of `ros2 launch`."""


class OpaqueFunction(Made):
    """Stands for a function that makes nodes when the arguments are known."""


class Shutdown(Made):
    """Stands for the end of everything."""


class Node(Made):
    """Stands for a node."""


class LaunchDescription(Made):
    """Stands for the whole."""


class LaunchConfiguration(Made):
    """Stands for the value of an argument."""

    def perform(self, context):
        return context[self.args[0]]


STAND_INS = {
    'launch': {'LaunchContext': dict, 'LaunchDescription': LaunchDescription},
    'launch.actions': {
        'DeclareLaunchArgument': DeclareLaunchArgument,
        'OpaqueFunction': OpaqueFunction,
        'Shutdown': Shutdown,
    },
    'launch.substitutions': {'LaunchConfiguration': LaunchConfiguration},
    'launch_ros': {},
    'launch_ros.actions': {'Node': Node},
}


@pytest.fixture
def launching(monkeypatch):
    """Return efm_bringup.launching over the stand-ins for launch and launch_ros."""
    for name, content in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, 'efm_bringup.launching', raising=False)
    yield import_module('efm_bringup.launching')
    sys.modules.pop('efm_bringup.launching', None)


@pytest.fixture
def config(tmp_path):
    release = tmp_path / 'run' / 'releases' / '000001'
    release.mkdir(parents=True)
    return GraphConfig(
        run=str(tmp_path / 'run'),
        num_robots=2,
        embodiment=str(find_embodiment('')),
        text_encoder="a'b",
    )


def launch_file(name):
    return ROOT / 'launch' / f'{name}.launch.py'


def words_of(config):
    return {
        flag_of(field): str(getattr(config, field.name)) for field in dataclasses.fields(config)
    }


def launched(description, config, **words):
    """Return what launch would start, by full name."""
    function = next(e for e in description.args[0] if isinstance(e, OpaqueFunction))
    nodes = function.kwargs['function']({**words_of(config), **words})
    assert all(type(node) is Node for node in nodes)
    return {f'{n.kwargs["namespace"]}/{n.kwargs["name"]}'.lstrip('/'): n.kwargs for n in nodes}


def started(node):
    """Return namespace, name, remappings and parameters, as the command line says them."""
    command = to_command(node)
    respawn = command[2] == 'efm_bringup.respawn'
    assert command[:2] == [sys.executable, '-m']
    command = command[3:] if respawn else command
    assert command[:2] == [sys.executable, '-m']
    pairs = list(pairwise(command))
    rules = [value.partition(':=')[::2] for flag, value in pairs if flag == '-r']
    special = {key: value for key, value in rules if key.startswith('__')}
    parameters = [value.partition(':=')[::2] for flag, value in pairs if flag == '-p']
    return {
        'module': command[2],
        'respawn': respawn,
        'name': special['__node'],
        'namespace': special.get('__ns', '').lstrip('/'),
        'remappings': [rule for rule in rules if not rule[0].startswith('__')],
        'parameters': {key: yaml.safe_load(value) for key, value in parameters},
    }


def entry_points():
    """Return the executables that setup.py installs, and their modules."""
    tree = ast.parse((ROOT / 'setup.py').read_text())
    assignment = next(
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == 'NODES'
    )
    return ast.literal_eval(assignment.value)


def test_there_is_a_launch_file_for_every_graph_and_every_node():
    files = {path.name for path in (ROOT / 'launch').glob('*.launch.py')}
    assert files == {launch_file(name).name for name in (*MODES, *NODES, 'harmonic')}
    assert {f'{name}_node' for name in NODES} | {'remote_policy_node'} == set(EXECUTABLES)


@pytest.mark.parametrize('name', [*MODES, *NODES])
def test_a_launch_file_only_names_its_graph_or_its_node(name):
    describe = 'describe_graph' if name in MODES else 'describe_node'
    docstring, *statements = ast.parse(launch_file(name).read_text()).body
    assert docstring.value.value.startswith(f'Type: ros2 launch efm {name}.launch.py')
    imported, function = statements
    assert isinstance(imported, ast.ImportFrom)
    assert imported.module == 'efm_bringup.launching'
    assert [alias.name for alias in imported.names] == [describe]
    assert function.name == 'generate_launch_description'
    assert ast.unparse(function.body[-1]) == f"return {describe}('{name}')"
    assert len(function.body) == 2


def test_setup_installs_the_executables_that_the_graph_names():
    assert entry_points() == EXECUTABLES
    for module in EXECUTABLES.values():
        assert callable(import_module(module).main)


@pytest.mark.parametrize('changes', [{}, {'namespace': 'lab/west', 'use_respawn': True}])
@pytest.mark.parametrize('mode', MODES)
def test_launch_and_efm_start_the_same_nodes(launching, config, mode, changes):
    config = dataclasses.replace(config, **changes)
    by_launch = launched(launching.describe_graph(mode), config)
    config = dataclasses.replace(config, embodiment=f'{config.run}/embodiment.yaml')
    by_efm = {node.full_name: started(node) for node in make_graph(mode, config)}
    assert set(by_launch) == set(by_efm)
    for name, process in by_efm.items():
        node = by_launch[name]
        assert node['package'] == 'efm'
        assert EXECUTABLES[node['executable']] == process['module']
        for key in ('name', 'namespace', 'remappings', 'respawn'):
            assert node[key] == process[key], f'{name}: {key}'
        assert node['parameters'] == [process['parameters']], name
        assert node['ros_arguments'] == ['--log-level', f'{node["name"]}:=info']
        assert node['additional_env'].keys() == {'EFM_LAUNCHER', 'OMP_NUM_THREADS'}


@pytest.mark.parametrize('mode', MODES)
def test_the_files_of_the_nodes_together_start_the_graph(launching, config, mode):
    whole = launched(launching.describe_graph(mode), config)
    for full_name, node in whole.items():
        robot, _, name = full_name.rpartition('/')
        words = {'mode': mode, 'robot': robot or 'nobody'}
        assert launched(launching.describe_node(name), config, **words) == {full_name: node}


def test_every_node_is_in_a_graph_or_started_beside_one(config):
    taught = dataclasses.replace(config, demonstrator='teleoperation')
    graphs = [make_graph(mode, c) for mode in MODES for c in (config, taught)]
    assert {node.name for nodes in graphs for node in nodes} == set(NODES) - set(ALONE)


@pytest.mark.parametrize('mode', MODES)
def test_when_the_fleet_is_done_the_launch_ends(launching, config, mode):
    nodes = launched(launching.describe_graph(mode), config)
    assert {name for name, node in nodes.items() if 'on_exit' in node} == {'fleet'}
    on_exit = nodes['fleet']['on_exit']
    assert isinstance(on_exit(SimpleNamespace(returncode=0), None), Shutdown)
    with pytest.raises(RuntimeError, match='the fleet failed with code 1'):
        on_exit(SimpleNamespace(returncode=1), None)


@pytest.mark.parametrize('name', [PRACTICE, 'policy'])
def test_launch_arguments_are_the_options_of_efm(launching, name):
    describe, types = (
        (launching.describe_graph, [GraphConfig])
        if name in MODES
        else (launching.describe_node, [launching.NodeConfig, GraphConfig])
    )
    arguments = [e for e in describe(name).args[0] if isinstance(e, DeclareLaunchArgument)]
    fields = [field for config_type in types for field in dataclasses.fields(config_type)]
    assert [argument.args[0] for argument in arguments] == [flag_of(field) for field in fields]
    for argument, field in zip(arguments, fields, strict=True):
        assert argument.kwargs['default_value'] == str(field.default)
        assert field.metadata['description'] in argument.kwargs['description']


def test_the_words_of_a_launch_become_the_config(launching):
    assert launching.to_config(GraphConfig, words_of(GraphConfig())) == GraphConfig()
    words = {'fleet': '4', 'lockstep': 'false', 'run': 'runs/7', 'body': 'tool', 'seed': '12'}
    assert launching.to_config(GraphConfig, words) == GraphConfig(
        num_robots=4, lockstep=False, run='runs/7', body='tool', seed=12
    )
    assert launching.to_config(GraphConfig, {'lockstep': 'True'}).lockstep
    assert launching.to_config(GraphConfig, {'use_sim_time': 'True'}).use_sim_time == 'true'


@pytest.mark.parametrize(
    ('words', 'complaint'),
    [
        ({'fleet': 'many'}, "fleet: expected a number, got 'many'"),
        ({'fleet': '9'}, 'fleet: expected 1 to 8 robots, got 9'),
        ({'autostart': 'flase'}, "autostart: expected true or false, got 'flase'"),
        ({'world': 'moon'}, 'world: expected one of mujoco, gazebo, gym, real'),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused(launching, words, complaint):
    with pytest.raises(ValueError, match=complaint):
        launching.to_config(GraphConfig, words)


def configs_of(executable):
    """Return the dataclasses whose fields a node declares as parameters."""
    module = import_module(EXECUTABLES[executable])
    managed = [
        value.config_type
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and 'config_type' in vars(value)
    ]
    return (*managed, *FURTHER.get(executable, ()))


@pytest.mark.parametrize('world', ['mujoco', 'gazebo', 'real'])
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', NODES)
def test_every_parameter_that_is_given_is_declared(config, name, mode, world):
    config = dataclasses.replace(config, world=world, demonstrator='teleoperation')
    if (name, world) == ('world', 'real'):
        with pytest.raises(ValueError, match='world: expected a simulated one, got real'):
            make_node(name, mode, config)
        return
    node = make_node(name, mode, config)
    own = dict(node.parameters)
    if name != 'fleet':  # what every lifecycle node has
        assert {type(own.pop(key)) for key in ('use_sim_time', 'autostart')} == {bool}
    declared = {
        field.name: field
        for config_type in configs_of(node.executable)
        for field in dataclasses.fields(config_type)
    }
    for key, value in own.items():
        assert key in declared, key
        assert type(value) is type(declared[key].default), key
    for config_type in configs_of(node.executable):
        names = {field.name for field in dataclasses.fields(config_type)}
        config_type(**{k: v for k, v in own.items() if k in names})


def test_the_example_of_a_file_of_parameters_names_what_is_declared():
    for rule in read_rules(str(ROOT / 'config' / 'parameters.yaml'), NODES):
        name = rule.pattern.split('/')[-1]
        declared = {
            field.name: type(field.default)
            for config_type in configs_of(f'{name}_node')
            for field in dataclasses.fields(config_type)
        }
        assert {key: type(value) for key, value in rule.parameters.items()}.items() <= (
            declared.items()
        )


def test_with_a_server_each_robot_asks_it_with_its_own_token(config):
    served = dataclasses.replace(
        config, server='gpu-box:50051', server_ca='ca.pem', auth_tokens='/t'
    )
    nodes = {node.full_name: node for node in make_graph(PRACTICE, served)}
    for robot in ('robot_0', 'robot_1'):
        node = nodes[f'{robot}/policy']
        assert node.executable == 'remote_policy_node'
        asked = {name: node.parameters[name] for name in ('server', 'server_ca', 'token', 'robot')}
        assert asked == {
            'server': 'gpu-box:50051', 'server_ca': 'ca.pem', 'token': f'/t/{robot}',
            'robot': robot,
        }  # fmt: skip
        (config_type,) = configs_of(node.executable)
        own = {field.name for field in dataclasses.fields(config_type)}
        config_type(**{k: v for k, v in node.parameters.items() if k in own})
        assert node.parameters.keys() - own == {'use_sim_time', 'autostart'}
        assert nodes[f'{robot}/reward'].executable == 'reward_node'


def test_the_page_about_launch_has_every_file_and_every_argument(launching):
    page = (ROOT / 'docs' / 'launch.md').read_text()
    rows = [
        f'| `{flag_of(field)}` | {f"`{field.default}`" if field.default != "" else ""} '
        f'| {launching.describe_argument(field)} |'
        for config_type in (launching.NodeConfig, GraphConfig)
        for field in dataclasses.fields(config_type)
    ]
    missing = [row for row in rows if row not in page]
    assert not missing, 'docs/launch.md lacks:\n' + '\n'.join(missing)
    named = set(re.findall(r'^\| `(\w+)\.launch\.py` \|', page, re.M))
    assert named == {*MODES, *NODES, 'harmonic'}


@pytest.mark.parametrize('mode', MODES)
def test_all_executables_are_used_and_names_are_unique(config, mode):
    nodes = make_graph(mode, config)
    names = [node.full_name for node in nodes]
    assert len(set(names)) == len(names)
    assert {node.executable for node in nodes} <= set(graph.EXECUTABLES)
