"""Launch descriptions of the whole node graph and of single nodes, for ``ros2 launch``."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any

from efm_bringup.config import GraphConfig
from efm_bringup.graph import (
    make_graph,
    make_node,
    MODES,
    node_environment,
    NodeSpec,
    PRACTICE,
    RESPAWN_DELAY_S,
    results_path,
)
from efm_bringup.run import open_run
from efm_core.config import config, flag_of, parameter
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


@config
class NodeConfig:
    """Further arguments of one node of the graph that is started alone."""

    robot: str = parameter('robot_0', 'Robot that the node belongs to')
    mode: str = parameter(PRACTICE, 'Purpose of the run', choices=MODES)


def describe_graph(mode: str) -> LaunchDescription:
    """Return the launch description of ``record``, ``practice`` or ``evaluate``."""
    return _describe(lambda context: make_graph(mode, _open_config(context, mode)), GraphConfig)


def describe_node(name: str) -> LaunchDescription:
    """Return the launch description of one node of the graph."""

    def make(context: LaunchContext) -> list[NodeSpec]:
        own = to_config(NodeConfig, _values(context, NodeConfig))
        return [make_node(name, own.mode, _open_config(context, own.mode), own.robot)]

    return _describe(make, NodeConfig, GraphConfig)


def _describe(
    make: Callable[[LaunchContext], list[NodeSpec]], *config_types: type
) -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(
            flag_of(field),
            default_value=str(field.default),
            description=describe_argument(field),
        )
        for config_type in config_types
        for field in dataclasses.fields(config_type)
    ]

    def make_actions(context: LaunchContext) -> list[Node]:
        level = LaunchConfiguration('log_level').perform(context)
        return [Node(**to_arguments(node, level)) for node in make(context)]

    return LaunchDescription([*arguments, OpaqueFunction(function=make_actions)])


def describe_argument(field: dataclasses.Field[Any]) -> str:
    """Return description and range of a launch argument; launch itself adds the default."""
    metadata = field.metadata
    choices = ', '.join(metadata['choices'])
    bounds = '' if metadata['low'] is None else f'{metadata["low"]} to {metadata["high"]}'
    allowed = choices or bounds
    return metadata['description'] + (f' ({allowed})' if allowed else '')


def _values(context: LaunchContext, config_type: type) -> dict[str, str]:
    names = map(flag_of, dataclasses.fields(config_type))
    return {name: LaunchConfiguration(name).perform(context) for name in names}


def _open_config(context: LaunchContext, mode: str) -> GraphConfig:
    """Return the options of the graph, after its run was opened."""
    config = to_config(GraphConfig, _values(context, GraphConfig))
    config = dataclasses.replace(config, embodiment=str(open_run(config.run, config.embodiment)))
    results_path(config, mode).parent.mkdir(parents=True, exist_ok=True)
    return config


def to_config(config_type: type, arguments: dict[str, str]) -> Any:
    """
    Return the config of launch arguments, which are text.

    :raises ValueError: when a text is not a number or a truth value where one is expected, or a
        value is out of range.
    """
    fields = {flag_of(field): field for field in dataclasses.fields(config_type)}
    return config_type(
        **{fields[name].name: _to_value(fields[name], text) for name, text in arguments.items()}
    )


def _to_value(field: dataclasses.Field[Any], text: str) -> Any:
    kind: Any = type(field.default)
    choices = field.metadata.get('choices', ())
    if kind is bool:
        truths = {'true': True, '1': True, 'false': False, '0': False}
        if text.lower() not in truths:
            raise ValueError(f'{flag_of(field)}: expected true or false, got {text!r}')
        return truths[text.lower()]
    if kind is str:
        return text.lower() if text.lower() in choices else text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f'{flag_of(field)}: expected a number, got {text!r}') from None


def to_arguments(node: NodeSpec, log_level: str) -> dict[str, Any]:
    """
    Return the arguments of ``launch_ros.actions.Node`` for a node.

    The launch ends when the fleet node ends.
    """
    arguments = {
        'package': 'efm',
        'executable': node.executable,
        'name': node.name,
        'namespace': node.namespace,
        'parameters': [node.parameters],
        'remappings': list(node.remappings),
        'output': 'screen',
        'ros_arguments': ['--log-level', f'{node.name}:={log_level}'],
        'additional_env': node_environment(),
        'respawn': node.respawn,
        'respawn_delay': RESPAWN_DELAY_S,
    }
    return {**arguments, 'on_exit': _shut_down} if node.executable == 'fleet_node' else arguments


def _shut_down(event: Any, context: LaunchContext) -> Shutdown:
    """
    End the launch, because the fleet node has ended.

    :raises RuntimeError: when the fleet node failed, so that ``ros2 launch`` exits with code 1.
    """
    if event.returncode > 0:
        raise RuntimeError(
            f'the fleet failed with code {event.returncode}; its log has the reason'
        )
    return Shutdown(reason='the fleet is done')
