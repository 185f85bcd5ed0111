"""Two linters that agree: ruff, and ament's flake8 and pep257."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest
from sources import python_files, ROOT

FLAKE8 = Path(__file__).with_name('ament_flake8.ini')
PEP257_IGNORES = 'D100,D101,D102,D103,D104,D105,D106,D107,D203,D212,D404'


def complaints(*command: str) -> str:
    """Return what a linter that runs as a Python module says; empty when all is well."""
    files = map(str, python_files())
    done = subprocess.run(
        [sys.executable, '-m', *command, *files], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout + done.stderr if done.returncode else ''


@pytest.mark.parametrize(
    'command',
    [
        ('ruff', 'format', '--quiet', '--no-cache', '--diff'),
        ('ruff', 'check', '--quiet', '--no-cache', '--output-format', 'concise'),
        ('flake8', '--config', str(FLAKE8)),
        ('pydocstyle', f'--ignore={PEP257_IGNORES}', '--match', '.*\\.py'),
    ],
    ids=('ruff_format', 'ruff_check', 'ament_flake8', 'ament_pep257'),
)
def test_linter_has_no_complaint(command):
    said = complaints(*command)
    assert not said, said
