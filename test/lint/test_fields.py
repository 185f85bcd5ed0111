"""Every field of a configuration and of the embodiment is read by some code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import re

from sources import name, python_files

CONTRACT = ('efm_core/embodiment.py', 'efm_core/command.py')
CHECKS = re.compile(r'__post_init__|validate')  # a field that only a check reads has no use
CONTRACT_CHECKS = re.compile(r'__post_init__|_?check_\w+')
REFUSED = ['GraphConfig.use_composition']  # true is an error that explains why
TREES = {
    name(path): ast.parse(path.read_text())
    for path in python_files()
    if not name(path).startswith('test/')
}


def attributes(node: ast.AST, checks: re.Pattern = CHECKS) -> Iterator[str]:
    """Yield the attributes that code reads, without the functions that only check values."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and checks.fullmatch(child.name):
            continue
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Load):
            yield child.attr
        yield from attributes(child, checks)


def fields_of(tree: ast.AST, decorator: str) -> list[str]:
    """Return ``Class.field`` for each field of the classes with a decorator."""
    return [
        f'{node.name}.{statement.target.id}'
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(found).startswith(decorator) for found in node.decorator_list)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id != '_'
    ]


READ = {
    attribute
    for file, tree in TREES.items()
    for attribute in attributes(tree, CONTRACT_CHECKS if file in CONTRACT else CHECKS)
}


def unread(fields: list[str]) -> list[str]:
    """Return the fields whose name no code reads as an attribute."""
    return [field for field in fields if field.split('.')[1] not in READ]


def test_every_field_of_a_configuration_is_read():
    fields = [field for tree in TREES.values() for field in fields_of(tree, 'config')]
    assert len(fields) > 200
    assert unread(fields) == REFUSED


def test_every_field_of_the_embodiment_is_read():
    fields = [field for file in CONTRACT for field in fields_of(TREES[file], 'dataclass')]
    assert len(fields) > 40
    assert unread(fields) == []


def test_a_field_that_only_a_check_reads_is_found():
    code = 'class Kettle:\n    def validate(self):\n        return self.label\n'
    assert 'label' not in set(attributes(ast.parse(code)))
    assert 'label' in set(attributes(ast.parse(code.replace('validate', 'show'))))
