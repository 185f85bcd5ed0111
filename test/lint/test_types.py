"""The types of all code hold, strictly in the packages that pyproject.toml names."""

from __future__ import annotations

import subprocess
import sys

from sources import ROOT


def test_mypy_finds_nothing():
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', '--no-error-summary'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stdout.splitlines() if ': error: ' in line]
    assert done.returncode == 0, '\n'.join(errors) or done.stdout + done.stderr
