"""The message definitions of a bag: its own, else those of ROS 2 and of the suite."""

from __future__ import annotations

from functools import lru_cache
import os
from pathlib import Path
import sys
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import get_types_from_idl, get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

PACKAGE = 'efm_interfaces'


def definitions_directory() -> Path:
    """
    Return the folder of the suite's ``.msg`` files: in the source tree, else where installed.

    :raises FileNotFoundError: when no such folder exists.
    """
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    candidates = [
        Path(__file__).resolve().parents[1] / PACKAGE / 'msg',
        *(Path(prefix, 'share', PACKAGE, 'msg') for prefix in prefixes if prefix),
    ]
    for directory in candidates:
        if directory.is_dir():
            return directory
    raise FileNotFoundError(
        f'{PACKAGE}: expected its msg files in one of {", ".join(map(str, candidates))}, got none'
    )


@lru_cache(maxsize=1)
def known_types() -> dict[str, Any]:
    """Return the definitions of ROS 2 Jazzy's messages and of the suite's."""
    types = dict(get_typestore(Stores.ROS2_JAZZY).fielddefs)
    for path in sorted(definitions_directory().glob('*.msg')):
        types.update(get_types_from_msg(path.read_text(), f'{PACKAGE}/msg/{path.stem}'))
    return types


@lru_cache(maxsize=32)
def typestore_for(definitions: frozenset[tuple[str, MessageDefinition]]) -> Typestore:
    """
    Return the types that decode a bag; bags with equal definitions share them.

    :param definitions: each message type with its definition in the bag (format NONE without).
    """
    types = dict(known_types())
    for name, definition in sorted(definitions):
        types.update(_parse(name, definition))
    if definitions and types == known_types():  # to register them takes 0.1 s
        return typestore_for(frozenset())
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def _parse(name: str, definition: MessageDefinition) -> dict[str, Any]:
    if definition.format == MessageDefinitionFormat.NONE or not definition.data:
        return {}
    if definition.format == MessageDefinitionFormat.MSG:
        return get_types_from_msg(definition.data, name)
    separator = '=' * 80 + '\n'
    types: dict[str, Any] = {}
    for part in filter(None, definition.data.split(separator)):
        types.update(get_types_from_idl(part.split('\n', 1)[1] if part[:5] == 'IDL: ' else part))
    return types
