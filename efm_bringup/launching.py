"""The node graph as launch descriptions, for ``ros2 launch``: of all of it, or of one node."""

from __future__ import annotations

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
    return _describe(
        lambda context: make_graph(mode, _to_graph_config(context, mode)), GraphConfig
    )


def describe_node(name: str) -> LaunchDescription:
    """Return the launch description of one node of the graph."""

    def make(context: LaunchContext) -> list[NodeSpec]:
        which = to_config(NodeConfig, _words(context, NodeConfig))
        return [make_node(name, which.mode, _to_graph_config(context, which.mode), which.robot)]

    return _describe(make, NodeConfig, GraphConfig)


def _describe(make: Any, *config_types: type) -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(
            flag_of(field),
            default_value=str(field.default),
            description=meaning(field),
        )
        for config_type in config_types
        for field in dataclasses.fields(config_type)
    ]

    def make_actions(context: LaunchContext) -> list[Node]:
        level = LaunchConfiguration('log_level').perform(context)
        return [Node(**to_arguments(node, level)) for node in make(context)]

    return LaunchDescription([*arguments, OpaqueFunction(function=make_actions)])


def meaning(field: dataclasses.Field) -> str:
    """Return the help text of an argument and its allowed values; launch adds the default."""
    allowed = field.metadata
    choices = ', '.join(allowed['choices'])
    numbers = '' if allowed['low'] is None else f'{allowed["low"]} to {allowed["high"]}'
    return allowed['description'] + (f' ({choices or numbers})' if choices or numbers else '')


def _words(context: LaunchContext, config_type: type) -> dict[str, str]:
    names = map(flag_of, dataclasses.fields(config_type))
    return {name: LaunchConfiguration(name).perform(context) for name in names}


def _to_graph_config(context: LaunchContext, mode: str) -> GraphConfig:
    """Return the graph's config, of a run that is on disk."""
    config = to_config(GraphConfig, _words(context, GraphConfig))
    config = dataclasses.replace(config, embodiment=str(open_run(config.run, config.embodiment)))
    results_path(config, mode).parent.mkdir(parents=True, exist_ok=True)
    return config


def to_config(config_type: type, words: dict[str, str]) -> Any:
    """
    Return the configuration that launch arguments describe.

    :param words: the arguments by name, all of them text.
    :raises ValueError: when a text is not the expected number or truth value.
    """
    fields = {flag_of(field): field for field in dataclasses.fields(config_type)}
    return config_type(
        **{fields[name].name: _to_value(fields[name], word) for name, word in words.items()}
    )


def _to_value(field: dataclasses.Field, word: str) -> Any:
    kind: Any = type(field.default)
    choices = field.metadata.get('choices', ())
    if kind is bool:
        truths = {'true': True, '1': True, 'false': False, '0': False}
        if word.lower() not in truths:
            raise ValueError(f'{flag_of(field)}: expected true or false, got {word!r}')
        return truths[word.lower()]
    if kind is str:
        return word.lower() if word.lower() in choices else word
    try:
        return kind(word)
    except ValueError:
        raise ValueError(f'{flag_of(field)}: expected a number, got {word!r}') from None


def to_arguments(node: NodeSpec, log_level: str) -> dict[str, Any]:
    """Return what ``launch_ros.actions.Node`` takes; when the fleet is done, everything ends."""
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
    return {**arguments, 'on_exit': _end} if node.executable == 'fleet_node' else arguments


def _end(event: Any, context: LaunchContext) -> Shutdown:
    """
    End everything, since the fleet is done.

    :raises RuntimeError: when it gave up, so that ``ros2 launch`` ends with code 1.
    """
    if event.returncode > 0:
        raise RuntimeError(f'the fleet gave up with code {event.returncode}; its log says why')
    return Shutdown(reason='the fleet is done')
