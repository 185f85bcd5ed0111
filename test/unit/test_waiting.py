"""Time limits of the tests: they last longer on a busy machine, and they do end."""

from __future__ import annotations

import queue
import sys

import psutil
import pytest
import waiting
from waiting import alive_after, Deadline, run_to_end, scaled, take, wait_for, wait_for_exit

CODE = 'import time; time.sleep(60)'


class Machine:
    """A clock and a load that the test sets."""

    def __init__(self):
        self.now = 0.0
        self.load = 1.0

    def after(self, deadline, seconds):
        """Return whether a deadline has passed after some seconds of ten looks each."""
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            passed = deadline.has_passed()
        return passed


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(waiting.time, 'monotonic', lambda: machine.now)
    monkeypatch.setattr(waiting, 'slowdown', lambda: machine.load)
    return machine


def test_on_a_quiet_machine_a_limit_is_its_seconds(machine):
    deadline = Deadline(20)
    assert not machine.after(deadline, 19.9)
    assert machine.after(deadline, 0.2)


def test_a_limit_lasts_longer_while_processes_share_a_core(machine):
    deadline = Deadline(20)
    machine.load = 3.0
    assert not machine.after(deadline, 30)
    machine.load = 1.0
    assert not machine.after(deadline, 9.9)
    assert machine.after(deadline, 0.2)


def test_a_limit_of_the_product_is_scaled_up_to_what_it_accepts(machine):
    machine.load = 3.0
    assert scaled(5.0) == 15.0
    assert scaled(5.0, 10.0) == 10.0


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('0.10 0.20 0.30 1/200 4711\n', 1.0),
        ('6.00 4.00 2.00 1/200 4711\n', 3.0),
        ('0.10 0.20 0.30 8/200 4711\n', 4.0),
    ],
    ids=['quiet', 'busy_for_a_minute', 'busy_now'],
)
def test_the_load_is_that_of_the_last_minute_or_of_now(tmp_path, monkeypatch, text, expected):
    (tmp_path / 'loadavg').write_text(text)
    monkeypatch.setattr(waiting, 'LOAD', tmp_path / 'loadavg')
    monkeypatch.setattr(waiting, 'CORES', 2)
    assert waiting.slowdown() == expected


def test_what_never_happens_fails_with_its_name():
    with pytest.raises(AssertionError, match='in vain for a miracle'):
        wait_for(lambda: False, 'a miracle', 0.1)
    with pytest.raises(AssertionError, match='in vain for a word'):
        take(queue.Queue(), 'a word', 0.1)


def test_a_command_that_does_not_end_is_killed():
    with pytest.raises(AssertionError, match='no end within'):
        run_to_end([sys.executable, '-c', CODE], 0.1)


def test_a_command_that_ends_gives_its_code_and_output():
    done = run_to_end([sys.executable, '-c', 'import sys; print("out"); sys.exit("err")'])
    assert (done.returncode, done.stdout, done.stderr) == (1, 'out\n', 'err\n')


def test_a_process_that_runs_on_is_alive_and_one_that_was_killed_is_not():
    with psutil.Popen([sys.executable, '-c', CODE]) as process:
        assert alive_after([process], 0.1) == [process]
        with pytest.raises(AssertionError, match='no end within'):
            wait_for_exit(process, 0.1)
        process.kill()
        assert wait_for_exit(process) == -9
        assert alive_after([process], 1.0) == []
