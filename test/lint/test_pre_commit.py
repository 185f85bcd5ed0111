"""The hooks for commits are valid, and run tools that `make setup` installs."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest
from sources import ROOT
import yaml

CONFIG = ROOT / '.pre-commit-config.yaml'
HOOKS = [hook for repo in yaml.safe_load(CONFIG.read_text())['repos'] for hook in repo['hooks']]


def test_configuration_is_valid():
    done = subprocess.run(
        [sys.executable, '-m', 'pre_commit', 'validate-config', str(CONFIG)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize('hook', HOOKS, ids=lambda hook: hook['id'])
def test_hook_runs_an_installed_tool(hook):
    program = Path(hook['entry'].split()[0])
    assert program.parent == Path('.venv/bin')
    assert (Path(sys.executable).parent / program.name).is_file()
