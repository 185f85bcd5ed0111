"""A command that is kept alive."""

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


def keep(code, path):
    command = [sys.executable, '-m', 'efm_bringup.respawn', sys.executable, '-c', code, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_what_died_lives_again_and_what_ended_well_does_not(tmp_path):
    process = keep(COUNTING, tmp_path / 'lives')
    _, said = process.communicate(timeout=scaled(60))
    assert process.returncode == 0
    assert (tmp_path / 'lives').read_text() == 'xx'
    assert said == 'ended with code 3; again in 2.0 s\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_what_is_asked_to_end_ends(tmp_path, number):
    process = keep(WAITING, tmp_path / 'alive')
    wait_for((tmp_path / 'alive').exists, 'the command')
    process.send_signal(number)
    _, said = process.communicate(timeout=scaled(30))
    assert 'again' not in said
