"""Numbers written once: dataclass fields with default, unit, range and description."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, TypeVar

ConfigType = TypeVar('ConfigType')


def parameter(
    default: Any,
    description: str,
    unit: str = '',
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """
    Return a dataclass field that carries everything there is to say about one parameter.

    :param low: smallest value allowed, in ``unit``; comes together with ``high``.
    :param choices: the words allowed, for a string.
    """
    return dataclasses.field(
        default=default,
        metadata={
            'description': description,
            'unit': unit,
            'low': low,
            'high': high,
            'choices': choices,
        },
    )


def check(config: Any) -> None:
    """
    Check every field of a dataclass instance against its range and choices.

    Call it from ``__post_init__``.

    :raises ValueError: naming the field, what was expected and what came.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        low = field.metadata.get('low')
        high = field.metadata.get('high')
        if low is not None and not low <= value <= high:
            raise ValueError(
                f'{field.name}: expected {low} to {high} {field.metadata["unit"]}, got {value}'
            )
        choices = field.metadata.get('choices')
        if choices and value not in choices:
            raise ValueError(f'{field.name}: expected one of {", ".join(choices)}, got {value!r}')


def describe(field: dataclasses.Field) -> str:
    """Return one line for people: description, unit and range."""
    unit, low, high = (field.metadata.get(key) for key in ('unit', 'low', 'high'))
    unit = f' [{unit}]' if unit else ''
    allowed = f', {low} to {high}' if low is not None else ''
    return f'{field.metadata.get("description", "")}{unit} (default {field.default}{allowed})'


def add_arguments(
    parser: argparse.ArgumentParser, config_type: type, given_only: bool = False
) -> None:
    """
    Give ``parser`` one ``--option`` for every field of a config dataclass.

    :param given_only: what was not typed is left out, for ``from_arguments`` to fill in.
    """
    group = parser.add_argument_group(config_type.__name__)
    for field in dataclasses.fields(config_type):
        kind = (
            {'action': argparse.BooleanOptionalAction}
            if isinstance(field.default, bool)
            else {'type': type(field.default), 'choices': field.metadata.get('choices') or None}
        )
        group.add_argument(
            '--' + field.name.replace('_', '-'),
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
    Return the config that the parsed command line describes.

    :param preset: has the values of what was left out.
    :raises ValueError: from the dataclass's ``__post_init__`` when a value is out of range.
    """
    names = [field.name for field in dataclasses.fields(config_type)]
    if preset is None:
        return config_type(**{name: getattr(arguments, name) for name in names})
    typed = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return dataclasses.replace(preset, **typed)


def expect(fact: bool, where: str, what: str, got: Any) -> None:
    """
    Refuse what is not as expected.

    :raises ValueError: if ``fact`` is false.
    """
    if not fact:
        raise ValueError(f'{where}: expected {what}, got {got}')
