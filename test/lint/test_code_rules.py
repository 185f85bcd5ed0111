"""One assignment a line; constructors take two positional arguments, the others by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeVar

import pytest
from sources import name, python_files

MOST = 2  # positional arguments of a constructor
WRITTEN = (ast.Name, ast.Attribute, ast.Subscript)
Node = TypeVar('Node', ast.stmt, ast.expr, ast.Assign, ast.ClassDef)
Series = ast.Tuple | ast.List


def nodes(kind: type[Node]) -> Iterator[tuple[str, Node]]:
    """Yield every syntax node of one kind, with the place where it stands."""
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, kind):
                yield f'{name(path)}:{node.lineno}', node


def leaves(target: ast.expr) -> list[ast.expr]:
    """Return the names, attributes and subscripts that a target is made of."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return [leaf for part in target.elts for leaf in leaves(part)]
    return leaves(target.value) if isinstance(target, ast.Starred) else [target]


def reads(value: ast.expr, target: ast.expr) -> bool:
    """Return whether an expression reads what a target changes: of ``x[0]``, that is ``x``."""
    changed = {
        ast.unparse(leaf.value if isinstance(leaf, ast.Subscript) else leaf)
        for leaf in leaves(target)
    }
    parts = (node for node in ast.walk(value) if isinstance(node, WRITTEN))
    return any(ast.unparse(part) in changed for part in parts)


def is_pair(target: Series, value: Series) -> bool:
    """Return whether a value reads the target of another one, as it does in a swap."""
    return any(
        reads(expression, part)
        for row, part in enumerate(target.elts)
        for column, expression in enumerate(value.elts)
        if row != column
    )


def is_parallel(node: ast.Assign) -> bool:
    """Return whether a statement assigns several things at once that could go one by one."""
    targets = [target for target in node.targets if isinstance(target, (ast.Tuple, ast.List))]
    value = node.value
    return isinstance(value, (ast.Tuple, ast.List)) and any(
        not is_pair(target, value) for target in targets
    )


def is_dataclass(node: ast.ClassDef) -> bool:
    """Return whether a class is a dataclass whose fields are not keyword-only altogether."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(
        word.split('(')[0].endswith('dataclass') and 'kw_only=True' not in word
        for word in decorators
    )


def positional_fields(node: ast.ClassDef) -> int:
    """Return how many fields of its own a dataclass takes by position."""
    found = 0
    for field in node.body:
        if not isinstance(field, ast.AnnAssign):
            continue
        kind = ast.unparse(field.annotation)
        if kind.endswith('KW_ONLY'):
            break
        value = ast.unparse(field.value) if field.value else ''
        is_left_out = 'ClassVar' in kind or 'init=False' in value or 'kw_only=True' in value
        found += not is_left_out
    return found


def positional(node: ast.ClassDef) -> int:
    """Return how many positional arguments a class's own constructor takes."""
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == '__init__':
            given = function.args
            return len(given.posonlyargs + given.args) - 1
    return positional_fields(node) if is_dataclass(node) else 0


def test_one_assignment_a_line():
    wrong = [
        f'{place}: {ast.unparse(node)}' for place, node in nodes(ast.Assign) if is_parallel(node)
    ]
    assert not wrong


def test_constructors_take_few_positional_arguments():
    wrong = [
        f'{place}: {node.name} takes {positional(node)}'
        for place, node in nodes(ast.ClassDef)
        if positional(node) > MOST and not node.name.endswith('Error')
    ]
    assert not wrong


@pytest.mark.parametrize(
    ('line', 'wrong'),
    [
        ('a, b = 1, 2', True),
        ('self.a, b = a, self.b', True),
        ('a, b = a + 1, b + 1', True),
        ('a, b = both', False),
        ('a, b = b, a', False),
        ('a, self.b = self.b, None', False),
        ('x[i], x[j] = x[j], x[i]', False),
    ],
)
def test_a_swap_is_no_parallel_assignment(line, wrong):
    assert is_parallel(ast.parse(line).body[0]) == wrong


@pytest.mark.parametrize(
    ('lines', 'count'),
    [
        ('class A:\n def __init__(self, a, b, c=0, *, d): pass', 3),
        ('class A:\n def __init__(self, a, b, *, c): pass', 2),
        ('@dataclass\nclass A:\n a: int\n b: int = 1\n c: int = 2', 3),
        ('@dataclass\nclass A:\n a: int\n b: ClassVar[int] = 1\n _: KW_ONLY\n c: int', 1),
        ('@dataclass(frozen=True, kw_only=True)\nclass A:\n a: int\n b: int\n c: int', 0),
        ('class A(NamedTuple):\n a: int\n b: int\n c: int', 0),
    ],
)
def test_positional_arguments_are_counted(lines, count):
    assert positional(ast.parse(lines).body[0]) == count
