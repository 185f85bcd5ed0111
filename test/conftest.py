"""What every test run needs before anything else is imported."""

from __future__ import annotations

import gc
import importlib.util
import os
from pathlib import Path
import signal

from efm_core.embodiment import Embodiment, load_embodiment
import pytest

# nohup makes its processes ignore SIGHUP. The tests of stop signals need the default.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# This host only, and a domain of the run's own: two runs never meet.
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)

ROOT = Path(__file__).resolve().parents[1]
NEEDS_ROS = ('ros', 'graph')
HAS_ROS = importlib.util.find_spec('rclpy') is not None

collect_ignore = [] if HAS_ROS else [*NEEDS_ROS, 'fuzz', 'launch']


def pytest_configure(config):
    """Prepare torch in each process that runs tests; the one that hands them out needs none."""
    hands_out = config.getoption('numprocesses', None) and not hasattr(config, 'workerinput')
    if hands_out or importlib.util.find_spec('torch') is None:
        return
    # torch's compiler brings a second LLVM, which crashes if Mesa's is loaded before it.
    import torch._dynamo

    gc.freeze()  # 400,000 objects that live until the end
    torch.set_num_threads(1)  # tiny tensors: more threads only get in each other's way


def pytest_collection_finish():
    """Spare the garbage collector the test modules and all that they imported."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter):
    """Name what was left out."""
    if not HAS_ROS:
        terminalreporter.write_line(
            'test/fuzz, test/ros, test/graph and test/launch were skipped: rclpy is not here; '
            '`make setup` installs it'
        )


def pytest_collection_modifyitems(items):
    """Mark the tests of test/ros and test/graph by their folder."""
    for item in items:
        level = item.path.relative_to(ROOT / 'test').parts[0]
        if level in NEEDS_ROS:
            item.add_marker(level)


@pytest.fixture(scope='session')
def embodiment() -> Embodiment:
    """Return the contract of the simulated table."""
    return load_embodiment(ROOT / 'config' / 'embodiments' / 'table_arm.yaml')
