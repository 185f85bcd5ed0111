"""One node graph, whether `ros2 launch` or `efm` starts it; without `launch` itself."""

from __future__ import annotations

import ast
import dataclasses
from importlib import import_module
from itertools import pairwise
import sys
from types import ModuleType

from efm_bringup import graph
from efm_bringup.graph import EVALUATE, EXECUTABLES, GraphConfig, make_graph, PRACTICE, RECORD
from efm_bringup.processes import to_command
from efm_bringup.run import find_embodiment
from efm_sim.config import DemonstratorConfig, TableConfig
from efm_supervisor.config import FleetConfig
from efm_trainer.config import PracticeConfig
import pytest
from sources import ROOT
import yaml

MODES = (RECORD, PRACTICE, EVALUATE)
# What a node declares beside its own config; the fleet node has no lifecycle.
FURTHER = {
    'world_node': (TableConfig,),
    'demonstrator_node': (DemonstratorConfig,),
    'trainer_node': (PracticeConfig,),
    'fleet_node': (FleetConfig,),
}


class Made:
    """Anything that a launch description is made of: it keeps what it was given."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


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
        run=str(tmp_path / 'run'), fleet=2, embodiment=str(find_embodiment('')), text_encoder="a'b"
    )


def launch_file(mode):
    return ROOT / 'launch' / f'{mode}.launch.py'


def words_of(config):
    return {name: str(value) for name, value in dataclasses.asdict(config).items()}


def launched(launching, mode, config):
    """Return what launch would start, by full name."""
    function = next(
        entity
        for entity in launching.describe_graph(mode).args[0]
        if isinstance(entity, OpaqueFunction)
    )
    nodes = function.kwargs['function'](words_of(config), *function.kwargs['args'])
    assert all(type(node) is Node for node in nodes)
    return {f'{n.kwargs["namespace"]}/{n.kwargs["name"]}'.lstrip('/'): n.kwargs for n in nodes}


def started(node):
    """Return namespace, name, remappings and parameters, as the command line says them."""
    command = to_command(node)
    pairs = list(pairwise(command))
    rules = [value.partition(':=')[::2] for flag, value in pairs if flag == '-r']
    special = {key: value for key, value in rules if key.startswith('__')}
    parameters = [value.partition(':=')[::2] for flag, value in pairs if flag == '-p']
    return {
        'module': command[2],
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


def test_there_is_a_launch_file_for_every_graph():
    files = {path.name for path in (ROOT / 'launch').glob('*.launch.py')}
    assert files == {launch_file(mode).name for mode in MODES} | {'harmonic.launch.py'}


@pytest.mark.parametrize('mode', MODES)
def test_a_launch_file_only_names_its_graph(mode):
    docstring, *statements = ast.parse(launch_file(mode).read_text()).body
    assert docstring.value.value.startswith(f'Type: ros2 launch efm {mode}.launch.py')
    imported, function = statements
    assert isinstance(imported, ast.ImportFrom)
    assert (imported.module, [n.name for n in imported.names]) == (
        'efm_bringup.launching',
        ['describe_graph'],
    )
    assert function.name == 'generate_launch_description'
    assert ast.unparse(function.body[-1]) == f"return describe_graph('{mode}')"
    assert len(function.body) == 2


def test_setup_installs_the_executables_that_the_graph_names():
    assert entry_points() == EXECUTABLES
    for module in EXECUTABLES.values():
        assert callable(import_module(module).main)


@pytest.mark.parametrize('mode', MODES)
def test_launch_and_efm_start_the_same_nodes(launching, config, mode):
    by_launch = launched(launching, mode, config)
    config = dataclasses.replace(config, embodiment=f'{config.run}/embodiment.yaml')
    by_efm = {node.full_name: started(node) for node in make_graph(mode, config)}
    assert set(by_launch) == set(by_efm)
    for name, process in by_efm.items():
        node = by_launch[name]
        assert node['package'] == 'efm'
        assert EXECUTABLES[node['executable']] == process['module']
        for key in ('name', 'namespace', 'remappings'):
            assert node[key] == process[key], f'{name}: {key}'
        assert node['parameters'] == [process['parameters']], name
        assert node['ros_arguments'] == ['--log-level', f'{node["name"]}:=info']


@pytest.mark.parametrize('mode', MODES)
def test_when_the_fleet_is_done_the_launch_ends(launching, config, mode):
    nodes = launched(launching, mode, config)
    ending = {name for name, node in nodes.items() if isinstance(node.get('on_exit'), Shutdown)}
    assert ending == {'fleet'}


def test_launch_arguments_are_the_options_of_efm(launching):
    arguments = [
        entity
        for entity in launching.describe_graph(PRACTICE).args[0]
        if isinstance(entity, DeclareLaunchArgument)
    ]
    fields = dataclasses.fields(GraphConfig)
    assert [argument.args[0] for argument in arguments] == [field.name for field in fields]
    for argument, field in zip(arguments, fields, strict=True):
        assert argument.kwargs['default_value'] == str(field.default)
        assert field.metadata['description'] in argument.kwargs['description']


def test_the_words_of_a_launch_become_the_config(launching):
    assert launching.to_config(words_of(GraphConfig())) == GraphConfig()
    words = {'fleet': '4', 'lockstep': 'false', 'run': 'runs/7', 'body': 'tool', 'seed': '12'}
    assert launching.to_config(words) == GraphConfig(
        fleet=4, lockstep=False, run='runs/7', body='tool', seed=12
    )
    assert launching.to_config({'lockstep': 'True'}).lockstep


@pytest.mark.parametrize(
    ('word', 'complaint'), [('many', 'many'), ('9', 'fleet: expected 1 to 8 robots, got 9')]
)
def test_a_word_that_is_no_number_of_robots_is_refused(launching, word, complaint):
    with pytest.raises(ValueError, match=complaint):
        launching.to_config({'fleet': word})


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
def test_every_parameter_that_is_given_is_declared(config, mode, world):
    for node in make_graph(mode, dataclasses.replace(config, world=world)):
        declared = {
            field.name: field
            for config_type in configs_of(node.executable)
            for field in dataclasses.fields(config_type)
        }
        for name, value in node.parameters.items():
            assert name in declared, f'{node.executable}: {name}'
            assert type(value) is type(declared[name].default), f'{node.executable}: {name}'
        for config_type in configs_of(node.executable):
            names = {field.name for field in dataclasses.fields(config_type)}
            config_type(**{k: v for k, v in node.parameters.items() if k in names})


def test_with_a_server_each_robot_asks_it_with_its_own_token(config):
    served = dataclasses.replace(config, server='gpu-box:50051', server_ca='ca.pem', tokens='/t')
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
        config_type(**node.parameters)
        assert nodes[f'{robot}/reward'].executable == 'reward_node'


def test_the_environment_that_the_embodiment_names_is_asked_for_and_has_no_demonstrator(config):
    gym = dataclasses.replace(config, world='gym')
    nodes = {node.executable: node for node in make_graph(PRACTICE, gym)}
    assert nodes['world_node'].parameters['simulator'] == 'gym'
    with pytest.raises(ValueError, match='the demonstrator knows, mujoco; got gym'):
        make_graph(RECORD, gym)


def test_practice_whose_bags_the_trainer_would_not_find_is_refused(config):
    with pytest.raises(
        ValueError, match='folder: expected none, since the trainer reads practice'
    ):
        make_graph(PRACTICE, dataclasses.replace(config, folder='elsewhere'))
    assert make_graph(PRACTICE, dataclasses.replace(config, folder='practice'))


def test_without_the_simulation_the_robot_brings_its_own_world(config):
    nodes = make_graph(PRACTICE, dataclasses.replace(config, world='real'))
    assert 'world_node' not in {node.executable for node in nodes}


@pytest.mark.parametrize('mode', MODES)
def test_all_executables_are_used_and_names_are_unique(config, mode):
    nodes = make_graph(mode, config)
    names = [node.full_name for node in nodes]
    assert len(set(names)) == len(names)
    assert {node.executable for node in nodes} <= set(graph.EXECUTABLES)
