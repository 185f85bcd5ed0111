"""Runs the tests of `launch_testing` with its own command."""

from __future__ import annotations

import os
from pathlib import Path
import sys

from sources import ROOT
from waiting import run_to_end


def test_practice_under_launch_testing(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / 'test'), os.environ.get('PYTHONPATH', '')])
    folders = {'TMPDIR': str(tmp_path), 'ROS_LOG_DIR': str(tmp_path / 'log')}
    done = run_to_end(
        [
            sys.executable,
            '-m',
            'launch_testing.launch_test',
            str(Path(__file__).with_name('launch_practice.py')),
        ],
        300,
        env={**os.environ, 'PYTHONPATH': path, **folders},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'OK' in done.stdout + done.stderr
