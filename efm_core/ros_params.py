"""Configurations as ROS parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

from efm_core.config import ConfigType, describe
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node


def descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    """Return a read-only ``ParameterDescriptor`` with a field's description, unit and range."""
    unit = field.metadata.get('unit')
    result = ParameterDescriptor(
        name=field.name,
        read_only=True,
        description=field.metadata.get('description', '') + (f' [{unit}]' if unit else ''),
    )
    low = field.metadata.get('low')
    high = field.metadata.get('high')
    if low is None or high is None:
        return result
    if isinstance(field.default, float):
        result.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]
    else:
        result.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return result


def declare(
    node: Node, config_type: type[ConfigType], defaults: ConfigType | None = None
) -> ConfigType:
    """
    Declare each field of a configuration as a parameter of ``node``; return the configuration.

    :param defaults: defaults of the parameters, such as a preset; None: those of the fields.
    :raises ValueError: when a value is out of range, is of another type than its default, or
        contradicts another value.
    """
    values: dict[str, Any] = {
        field.name: _declare(node, field, getattr(defaults, field.name, field.default))
        for field in dataclasses.fields(config_type)
    }
    return config_type(**values)


def _declare(node: Node, field: dataclasses.Field[Any], default: Any) -> Any:
    """Return the value of one parameter, which an earlier configuration may have declared."""
    if node.has_parameter(field.name):
        return node.get_parameter(field.name).value
    try:
        return node.declare_parameter(field.name, default, descriptor(field)).value
    except ParameterException as error:
        raise ValueError(f'{field.name}: {error}; {describe(field)}') from error
