"""
Configuration classes: each field carries its default, unit, range and help text.

ROS parameters, launch arguments, the command line and tables in the documentation are generated
from these fields.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import dataclasses
import inspect
from typing import Any, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from typing_extensions import dataclass_transform
else:  # only type checkers need the real one

    def dataclass_transform(**_: bool) -> Callable[[Any], Any]:
        """Return a decorator that changes nothing."""
        return lambda function: function


T = TypeVar('T')
ConfigType = TypeVar('ConfigType', bound='DataclassInstance')


def parameter(
    default: Any,
    description: str,
    unit: str = '',
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    flag: str = '',
) -> Any:
    """
    Return a field of a configuration class.

    :param low: smallest allowed value, in ``unit``; given together with ``high``.
    :param choices: the allowed values of a string.
    :param flag: name of the option and of the launch argument; empty: the name of the field.
    """
    return dataclasses.field(
        default=default,
        metadata={
            'description': description,
            'unit': unit,
            'low': low,
            'high': high,
            'choices': choices,
            'flag': flag,
        },
    )


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """
    Make a class a configuration: a frozen, keyword-only dataclass with checked values.

    Each new object is checked against the ranges and choices of its fields. Then its method
    ``validate()``, if the class has one, checks values against each other; it takes no arguments
    and raises ``ValueError``. Configurations inherit fields, so that several of them share one.
    """
    cls.__post_init__ = _check_new  # type: ignore[attr-defined]  # dataclass() calls it
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def _check_new(instance: Any) -> None:
    check_ranges(instance)
    validate = getattr(instance, 'validate', None)
    if validate is not None:
        validate()


def check_ranges(instance: DataclassInstance) -> None:
    """
    Check every field against its range and choices.

    :raises ValueError: with the field's name, the allowed values and the value.
    """
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        low = field.metadata.get('low')
        high = field.metadata.get('high')
        if low is not None and not low <= value <= high:
            unit = f' {field.metadata["unit"]}' if field.metadata['unit'] else ''
            raise ValueError(f'{flag_of(field)}: expected {low} to {high}{unit}, got {value}')
        choices = field.metadata.get('choices')
        if choices and value not in choices:
            names = ', '.join(choices)
            raise ValueError(f'{flag_of(field)}: expected one of {names}, got {value!r}')


def copy_field(config_type: type[DataclassInstance], name: str, **changes: Any) -> Any:
    """
    Return a new field like the one of another configuration, with its default and help text.

    Inherit from that configuration instead, unless only this field is needed or the order of the
    fields matters.

    :param changes: arguments of ``parameter`` that differ, such as ``default``.
    :raises KeyError: when ``config_type`` has no such field.
    """
    field = {field.name: field for field in dataclasses.fields(config_type)}[name]
    return parameter(**{'default': field.default, **field.metadata, **changes})


def flag_of(field: dataclasses.Field[Any]) -> str:
    """Return the name of a field's option and launch argument, with underscores."""
    return str(field.metadata.get('flag') or field.name)


def describe(field: dataclasses.Field[Any]) -> str:
    """Return one line of help: description, unit, default and range."""
    unit, low, high = (field.metadata.get(key) for key in ('unit', 'low', 'high'))
    default = '' if field.default == '' else f'default {field.default}'
    allowed = '' if low is None else f'{low} to {high}'
    notes = ', '.join(filter(None, (default, allowed)))
    unit = f' [{unit}]' if unit else ''
    return f'{field.metadata.get("description", "")}{unit}' + (f' ({notes})' if notes else '')


def add_arguments(
    parser: argparse.ArgumentParser,
    config_type: type[DataclassInstance],
    given_only: bool = False,
) -> None:
    """
    Add one ``--option`` to ``parser`` for each field of a configuration, under its docstring.

    :param given_only: omit options that the user did not give, so that ``from_arguments`` takes
        their values from a preset.
    """
    summary = (inspect.getdoc(config_type) or '').partition('\n')[0]
    group = parser.add_argument_group(summary.rstrip('.'))
    for field in dataclasses.fields(config_type):
        flag = flag_of(field)
        choices = field.metadata.get('choices') or None
        kind: dict[str, Any] = (
            {'action': argparse.BooleanOptionalAction}
            if isinstance(field.default, bool)
            else {
                'type': type(field.default),
                'choices': choices,
                'metavar': None if choices else flag.upper(),
            }
        )
        group.add_argument(
            '--' + flag.replace('_', '-'),
            dest=field.name,
            default=argparse.SUPPRESS if given_only else field.default,
            help=describe(field).replace('%', '%%'),
            **kind,
        )


def from_arguments(
    config_type: type[ConfigType],
    arguments: argparse.Namespace,
    preset: ConfigType | None = None,
) -> ConfigType:
    """
    Return the configuration that a parsed command line describes.

    :param preset: values of the options that the user did not give.
    :raises ValueError: when a value is out of range, or values contradict each other.
    """
    names = [field.name for field in dataclasses.fields(config_type)]
    if preset is None:
        return config_type(**{name: getattr(arguments, name) for name in names})
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return dataclasses.replace(preset, **given)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a dataclass field; ``dataclasses.MISSING`` for a required field."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def non_defaults(instance: DataclassInstance) -> dict[str, Any]:
    """
    Return the fields of a dataclass that differ from their defaults, as plain data.

    Required fields are always included. Nested dataclasses become dictionaries of their own
    non-default fields; an optional one without such fields is omitted. Tuples become lists.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        default = default_of(field)
        plain = _plain(value)
        is_default = plain == {} if dataclasses.is_dataclass(value) else value == default
        if default is dataclasses.MISSING or not is_default:
            found[field.name] = plain
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return non_defaults(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def expect(fact: bool, where: str, what: str, got: Any) -> None:
    """
    Raise an error unless a condition holds.

    :param where: name of the value.
    :param what: what was expected of it.
    :raises ValueError: when ``fact`` is false.
    """
    if not fact:
        raise ValueError(f'{where}: expected {what}, got {got}')
