"""Config dataclasses as ROS parameters."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from efm_core.config import describe
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

ConfigType = TypeVar('ConfigType')


def descriptor(field: dataclasses.Field) -> ParameterDescriptor:
    """Return description, unit and range of one field as a read-only ``ParameterDescriptor``."""
    unit = field.metadata.get('unit')
    result = ParameterDescriptor(
        name=field.name,
        read_only=True,
        description=field.metadata.get('description', '') + (f' [{unit}]' if unit else ''),
    )
    low = field.metadata.get('low')
    high = field.metadata.get('high')
    if low is not None and isinstance(field.default, float):
        result.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]
    elif low is not None:
        result.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return result


def declare(
    node: Node, config_type: type[ConfigType], defaults: ConfigType | None = None
) -> ConfigType:
    """
    Declare every field of ``config_type`` on ``node``; return the filled config.

    :param defaults: values that stand in for the dataclass's own defaults, such as a preset's.
    :raises ValueError: when a value is out of range or of another type than its default, and
        from the dataclass's ``__post_init__`` when values disagree.
    """
    values: dict[str, Any] = {
        field.name: _declare(node, field, getattr(defaults, field.name, field.default))
        for field in dataclasses.fields(config_type)
    }
    return config_type(**values)


def _declare(node: Node, field: dataclasses.Field, default: Any) -> Any:
    """Return the value of one parameter; a node configured again has declared it already."""
    if node.has_parameter(field.name):
        return node.get_parameter(field.name).value
    try:
        return node.declare_parameter(field.name, default, descriptor(field)).value
    except ParameterException as error:
        raise ValueError(f'{field.name}: {error}; {describe(field)}') from error
