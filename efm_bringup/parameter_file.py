"""
A ROS 2 parameter file that overrides the parameters of the node graph.

Keys are node names as in ROS 2: ``/robot_0/policy``, ``/*/policy``, ``/**``, or nested namespaces.
A name without a leading slash matches all nodes of this name, in any namespace. Later entries
override earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
import re
from typing import Any, NamedTuple

from efm_core.config import expect
from efm_core.yaml_files import load_yaml

PARAMETERS = 'ros__parameters'


class Rule(NamedTuple):
    """Parameters for the nodes whose full names match a pattern."""

    pattern: str
    parameters: dict[str, Any]


def read_rules(path: str, nodes: tuple[str, ...]) -> list[Rule]:
    """
    Return the rules of a parameter file, in its order.

    :param nodes: all node names of the suite.
    :raises OSError: when the file cannot be read.
    :raises ValueError: when it is not a parameter file, or names an unknown node.
    """
    content = load_yaml(path, 'parameters')
    rules = [*_rules('', content or {}, path)]
    for rule in rules:
        last = rule.pattern.split('/')[-1]
        known = ', '.join(nodes)
        expect(last in (*nodes, '*', '**'), path, f'nodes of {known}', repr(rule.pattern))
    return rules


def _rules(prefix: str, content: Any, path: str) -> Iterator[Rule]:
    """Yield the rules of a mapping and of the namespaces in it."""
    expect(isinstance(content, dict), path, f'a mapping under {prefix!r}', repr(content))
    for key, value in content.items():
        if key == PARAMETERS:
            given = isinstance(value, dict) and bool(prefix)
            expect(given, path, f'a node and its parameters at {prefix!r}', repr(value))
            yield Rule(prefix, dict(_flat('', value)))
        else:
            yield from _rules(f'{prefix}/{key}' if prefix else key, value, path)


def _flat(prefix: str, parameters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield parameters; the names of nested ones are joined by dots."""
    for key, value in parameters.items():
        if isinstance(value, dict):
            yield from _flat(f'{prefix}{key}.', value)
        else:
            yield f'{prefix}{key}', value


def select(rules: list[Rule], full_name: str) -> dict[str, Any]:
    """Return the parameters of the node ``full_name``, which starts with a slash."""
    chosen: dict[str, Any] = {}
    for rule in rules:
        if _expression(rule.pattern).fullmatch(full_name):
            chosen.update(rule.parameters)
    return chosen


def _expression(pattern: str) -> re.Pattern[str]:
    absolute = pattern if pattern.startswith('/') else f'/**/{pattern}'
    words = {'*': r'/\w+', '**': r'(/\w+)*'}
    return re.compile(''.join(words.get(w, '/' + re.escape(w)) for w in absolute[1:].split('/')))
