"""A closed terminal stops a process as SIGTERM does, but not under nohup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from efm_core.stop_signals import hangup_as_termination, on_stop, restore, STOP_SIGNALS
import pytest
from sources import ROOT
from waiting import run_to_end, wait_for, wait_for_exit

# Writes the number of the signal that ended it; nothing when the signal killed it.
WAITING = """
import pathlib, sys, time
from efm_core.stop_signals import on_stop
stopped = []
on_stop(lambda number, frame: stopped.append(number))
path = pathlib.Path(sys.argv[1])
path.touch()
while not stopped:
    time.sleep(0.01)
path.write_text(str(int(stopped[0])))
"""
IN_TERMINAL = """
import os, pathlib, pty, sys, time
child, terminal = pty.fork()
if not child:
    os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.01)
os.close(terminal)
os.waitpid(child, 0)
"""


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    restore(before)


@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_each_stop_signal_calls_the_handler(number):
    received = []
    on_stop(lambda number, frame: received.append(number))
    os.kill(os.getpid(), number)
    assert received == [number]


def test_the_handlers_before_are_restored():
    own = [lambda *_: None for _ in STOP_SIGNALS]
    for number, handler in zip(STOP_SIGNALS, own, strict=True):
        signal.signal(number, handler)
    restore(on_stop(lambda *_: None))
    with hangup_as_termination():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == own


def test_a_closed_terminal_is_a_termination_for_code_that_knows_only_that():
    received = []
    with hangup_as_termination():
        signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
        os.kill(os.getpid(), signal.SIGHUP)
    assert received == [signal.SIGTERM]


def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path):
    command = ['nohup', sys.executable, '-c', WAITING, str(tmp_path / 'said')]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for((tmp_path / 'said').exists, 'the process')
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert wait_for_exit(process) == 0
    assert (tmp_path / 'said').read_text() == str(int(signal.SIGTERM))


def test_a_process_whose_terminal_is_closed_ends_in_order(tmp_path):
    command = [sys.executable, '-c', IN_TERMINAL, WAITING, str(tmp_path / 'said')]
    assert run_to_end(command, cwd=ROOT).returncode == 0
    assert (tmp_path / 'said').read_text() == str(int(signal.SIGHUP))
