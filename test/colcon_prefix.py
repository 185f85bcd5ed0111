"""The sources as an installed ROS package, so that `launch` finds the executables."""

from __future__ import annotations

import os
from pathlib import Path
import sys

from efm_bringup.graph import EXECUTABLES
from sources import ROOT


def make_prefix(folder: Path) -> Path:
    """Fill a folder as colcon does, with executables that run the sources; return it."""
    for place in ('share/ament_index/resource_index/packages', 'lib/efm'):
        (folder / place).mkdir(parents=True)
    (folder / 'share/ament_index/resource_index/packages/efm').touch()
    for name, module in EXECUTABLES.items():
        script = folder / 'lib/efm' / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        script.chmod(0o755)
    return folder


def prefix_environment(prefix: Path) -> dict[str, str]:
    """Return the environment variables in which `launch` finds the prefix and the sources."""
    found = {'AMENT_PREFIX_PATH': str(prefix), 'PYTHONPATH': str(ROOT)}
    return {name: f'{path}:{os.environ.get(name, "")}' for name, path in found.items()}
