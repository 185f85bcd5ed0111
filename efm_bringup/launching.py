"""The node graph as a launch description, for ``ros2 launch``."""

from __future__ import annotations

import dataclasses
from typing import Any

from efm_bringup.graph import GraphConfig, make_graph, NodeSpec, results_path
from efm_bringup.run import claim
from efm_core.config import describe
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def describe_graph(mode: str) -> LaunchDescription:
    """Return the launch description of ``record``, ``practice`` or ``evaluate``."""
    arguments = [
        DeclareLaunchArgument(
            field.name, default_value=str(field.default), description=describe(field)
        )
        for field in dataclasses.fields(GraphConfig)
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_make_nodes, args=[mode])])


def _make_nodes(context: LaunchContext, mode: str) -> list[Node]:
    config = to_config(
        {
            field.name: LaunchConfiguration(field.name).perform(context)
            for field in dataclasses.fields(GraphConfig)
        }
    )
    config = dataclasses.replace(config, embodiment=str(claim(config.run, config.embodiment)))
    results_path(config, mode).parent.mkdir(parents=True, exist_ok=True)
    return [Node(**to_arguments(node, config.log_level)) for node in make_graph(mode, config)]


def to_config(words: dict[str, str]) -> GraphConfig:
    """
    Return the config that launch arguments, which are words, describe.

    :raises ValueError: when a word is no number where one is expected.
    """
    kinds = {field.name: type(field.default) for field in dataclasses.fields(GraphConfig)}
    return GraphConfig(**{name: _to_value(kinds[name], word) for name, word in words.items()})


def _to_value(kind: type, word: str) -> Any:
    return word.lower() in ('true', '1') if kind is bool else kind(word)


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
    }
    return {**arguments, 'on_exit': Shutdown()} if node.executable == 'fleet_node' else arguments
