"""A command that is started again after it died."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from sources import ROOT
from waiting import scaled, wait_for

COUNTING = """
import pathlib, sys
path = pathlib.Path(sys.argv[1])
lives = len(path.read_text()) if path.exists() else 0
path.write_text('x' * (lives + 1))
sys.exit(0 if lives else 3)
"""
WAITING = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text('x')
time.sleep(60)
"""


MODULE = ('-m', 'efm_bringup.respawn')
IMPATIENT = """
import sys
from efm_bringup import respawn
respawn.RESPAWN_DELAY_S = 0.1
sys.exit(respawn.main(sys.argv[1:]))
"""


def keep(code, path, respawn=MODULE):
    command = [sys.executable, *respawn, sys.executable, '-c', code, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_command_starts_again_after_a_failure_and_not_after_success(tmp_path):
    process = keep(COUNTING, tmp_path / 'lives', respawn=('-c', IMPATIENT))
    _, said = process.communicate(timeout=scaled(60))
    assert process.returncode == 0
    assert (tmp_path / 'lives').read_text() == 'xx'
    assert said == 'exit code 3; starting again in 0.1 s\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_for_good(tmp_path, number):
    process = keep(WAITING, tmp_path / 'alive')
    wait_for((tmp_path / 'alive').exists, 'the command')
    process.send_signal(number)
    _, said = process.communicate(timeout=scaled(30))
    assert 'again' not in said
