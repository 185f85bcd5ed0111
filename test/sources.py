"""The repository's own files, for the tests that read them as text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re
import subprocess

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {'build', 'install', 'log', 'runs'}


def folders() -> list[Path]:
    """Return the top-level folders that hold our files."""
    return sorted(
        path
        for path in ROOT.iterdir()
        if path.is_dir()
        and path.name not in NOT_OURS
        and not path.name.startswith('.')
        and not path.name.endswith('.egg-info')
    )


def python_files() -> list[Path]:
    """Return every Python file of ours."""
    return [
        ROOT / 'setup.py',
        *sorted(path for folder in folders() for path in folder.rglob('*.py')),
    ]


def tracked_files() -> list[Path]:
    """Return what git tracks; all files of ours where there is no git."""
    listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return [path for folder in folders() for path in folder.rglob('*') if path.is_file()]
    return [ROOT / name for name in filter(None, listed.stdout.split('\0'))]


def make_targets() -> set[str]:
    """Return the targets of the Makefile."""
    lines = re.findall(r'^([a-z -]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    return set(' '.join(lines).split())


def name(path: Path) -> str:
    """Return the path as the repository knows it."""
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, only_on_import: bool = False) -> Iterator[tuple[str, ast.stmt]]:
    """
    Yield the modules that a file imports, with the syntax node that does.

    :param only_on_import: leave out what is inside functions, which runs later or never.
    """
    for node in _walk(ast.parse(path.read_text(), str(path)), only_on_import):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or '', node
            yield from ((f'{node.module}.{alias.name}', node) for alias in node.names)


def _walk(node: ast.AST, only_on_import: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if not (only_on_import and is_function):
            yield from _walk(child, only_on_import)
