"""
Tests in ROS's own form: `launch_testing` and `launch_pytest`; skipped where they cannot run.

`launch_testing` runs by its own command, because its plugin does not load into pytest 9.
"""

from __future__ import annotations

import importlib.util

import pytest

HAS_LAUNCH = all(map(importlib.util.find_spec, ('launch_ros', 'launch_testing')))
# It reads the attributes that fixtures had before pytest 8.4.
HAS_LAUNCH_PYTEST = (
    HAS_LAUNCH
    and importlib.util.find_spec('launch_pytest') is not None
    and pytest.version_tuple < (8, 4)
)

collect_ignore = [
    *([] if HAS_LAUNCH else ['test_launch_practice.py']),
    *([] if HAS_LAUNCH_PYTEST else ['test_launch_guard.py']),
]


def pytest_terminal_summary(terminalreporter):
    """Name what was left out."""
    if not HAS_LAUNCH:
        terminalreporter.write_line(
            'test/launch was skipped: `launch`, `launch_ros` or `launch_testing` is not here; '
            'docs/launch.md says how to install them'
        )
    elif not HAS_LAUNCH_PYTEST:
        terminalreporter.write_line(
            'test/launch/test_launch_guard.py was skipped: expected launch_pytest and pytest '
            f'before 8.4, got pytest {pytest.__version__}'
        )
