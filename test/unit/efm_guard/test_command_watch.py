"""The second process stops a motion that no command follows, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace as Message

from arms import make_arm
from efm_guard.command_watch import CommandWatch, moves, REPEAT_NS
import pytest

MS = 1_000_000  # [ns]
LIMIT = 500 * MS


def test_a_motion_without_a_successor_is_stopped_again_and_again_for_some_seconds():
    watch = CommandWatch(LIMIT)
    watch.on_command(True, 0)
    assert not watch.must_stop(LIMIT - 1)
    for now in (LIMIT, 2 * LIMIT, 10 * LIMIT):
        assert watch.must_stop(now)
        watch.on_command(False, now)  # the stop itself comes back on the topic
    assert not watch.must_stop(LIMIT + REPEAT_NS)


def test_the_next_command_puts_the_stop_off_and_a_stop_of_the_guard_cancels_it():
    watch = CommandWatch(LIMIT)
    watch.on_command(True, 0)
    watch.on_command(True, 400 * MS)
    assert not watch.must_stop(899 * MS)
    watch.on_command(False, 899 * MS)
    assert not watch.must_stop(10 * LIMIT)


def test_a_guard_that_comes_back_may_move_the_robot_again():
    watch = CommandWatch(LIMIT)
    watch.on_command(True, 0)
    assert watch.must_stop(LIMIT)
    watch.on_command(True, LIMIT + MS)
    assert not watch.must_stop(LIMIT + 2 * MS)


def test_a_robot_that_was_never_commanded_is_left_alone():
    assert not CommandWatch(LIMIT).must_stop(10**15)


@pytest.mark.parametrize('speed', [0.0, 0.1, -0.1, float('nan')])
def test_every_velocity_but_zero_is_a_motion(speed):
    array = Message(data=[0.0, 0.0, speed, 0.0, 0.0, 0.0])
    still = Message(x=0.0, y=0.0, z=0.0)
    twist = Message(twist=Message(linear=still, angular=Message(x=0.0, y=0.0, z=speed)))
    joints = make_arm('forward_velocity_controller').command
    assert moves(array, joints) == (speed != 0)
    assert moves(twist, make_arm('moveit_servo').command) == (speed != 0)
