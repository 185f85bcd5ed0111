"""The fake driver's manners, and its arm against numbers made another way."""

from __future__ import annotations

from dataclasses import replace

from arms import KINDS, make_command
from efm_core.poses import difference
from efm_sim.fake_arm.chain import Chain
from efm_sim.fake_arm.config import FakeDriverConfig
from efm_sim.fake_arm.driver import FakeArm, Received
import numpy as np
import pytest

TRAJECTORY, POSITIONS, VELOCITIES, SERVO, POSE = KINDS
MS = 1_000_000
START = 10**12
CONFIG = FakeDriverConfig()
QUICK = FakeDriverConfig(latency_s=0.0)


def run(arm, duration_ms, start=START):
    """Let time pass in steps of 10 ms and return the time after that."""
    for now in range(start, start + duration_ms * MS + 1, 10 * MS):
        arm.step(now)
    return start + duration_ms * MS


@pytest.mark.parametrize('count', [5, 6, 7])
def test_jacobian_is_the_derivative_of_where_the_tool_is(count):
    chain = Chain(count)
    step = 1e-6
    jacobian = chain.jacobian(chain.home)
    for joint in range(count):
        moved = chain.home.copy()
        moved[joint] += step
        change = difference(chain.forward(moved), chain.forward(chain.home)) / step
        np.testing.assert_allclose(jacobian[:, joint], change, atol=1e-5)


def test_an_arm_that_is_straight_is_as_high_as_its_links():
    assert Chain(6).forward(np.zeros(6))[:3] == pytest.approx([0, 0, 1.3])


@pytest.mark.parametrize('kind', [TRAJECTORY, POSITIONS])
def test_positions_are_reached(kind):
    arm = FakeArm(QUICK, make_command(kind))
    goal = arm.joints + 0.1
    assert arm.take(Received(goal), START) == ''
    run(arm, 200)
    np.testing.assert_allclose(arm.joints, goal, atol=1e-9)


def test_a_trajectory_takes_its_time():
    arm = FakeArm(QUICK, make_command(TRAJECTORY))
    begin = arm.joints.copy()
    arm.step(START)
    arm.take(Received(begin + 0.1, duration_s=0.2), START)
    run(arm, 100)
    np.testing.assert_allclose(arm.joints - begin, 0.05, atol=0.006)


def test_no_joint_is_faster_than_its_limit():
    arm = FakeArm(QUICK, make_command(POSITIONS))
    begin = arm.joints.copy()
    arm.step(START)
    arm.take(Received(begin + 1.0), START)
    run(arm, 100)
    np.testing.assert_allclose(arm.joints - begin, 2.0 * 0.1, atol=1e-9)


def test_nothing_moves_before_the_latency_is_over():
    arm = FakeArm(replace(CONFIG, latency_s=0.1), make_command(VELOCITIES))
    begin = arm.joints.copy()
    arm.take(Received(np.full(6, 0.5)), START)
    now = run(arm, 90)
    np.testing.assert_array_equal(arm.joints, begin)
    run(arm, 100, now)
    assert (arm.joints > begin).all()


def test_a_twist_moves_the_tool_straight():
    arm = FakeArm(QUICK, make_command(SERVO))
    begin = arm.pose
    arm.step(START)
    arm.take(Received(np.array([0.1, 0, 0, 0, 0, 0])), START)
    run(arm, 300)
    np.testing.assert_allclose(difference(arm.pose, begin), [0.03, 0, 0, 0, 0, 0], atol=2e-3)


def test_a_pose_is_reached():
    arm = FakeArm(replace(QUICK, watchdog_s=5.0), make_command(POSE))
    goal = arm.pose + np.array([0.03, -0.02, 0.01, 0, 0, 0, 0])
    arm.take(Received(goal), START)
    run(arm, 2000)
    np.testing.assert_allclose(difference(goal, arm.pose), np.zeros(6), atol=1e-3)


@pytest.mark.parametrize('kind', [VELOCITIES, SERVO])
def test_it_stops_by_itself_when_commands_cease(kind):
    arm = FakeArm(QUICK, make_command(kind))
    arm.take(Received(np.array([0.1, 0, 0, 0, 0, 0])), START)
    now = run(arm, 490)
    assert np.abs(arm.speeds).max() > 0
    run(arm, 30, now)
    assert np.abs(arm.speeds).max() == 0
    assert arm.counts['watchdog'] == 1


@pytest.mark.parametrize(
    ('kind', 'received', 'word'),
    [
        (VELOCITIES, Received(np.zeros(5)), 'expected 6 numbers, got 5'),
        (SERVO, Received(np.full(6, np.nan)), 'expected finite'),
        (SERVO, Received(np.zeros(6), START - 101 * MS), 'stale command'),
        (POSITIONS, Received(np.full(6, 3.0)), 'joint limit'),
        (VELOCITIES, Received(np.full(6, -2.1)), 'speed'),
    ],
)
def test_what_a_real_driver_refuses_is_refused(kind, received, word):
    arm = FakeArm(CONFIG, make_command(kind))
    begin = arm.joints.copy()
    assert word in arm.take(received, START)
    run(arm, 100)
    np.testing.assert_array_equal(arm.joints, begin)
    assert arm.counts == {'refused': 1}


def test_a_part_of_the_commands_is_lost_and_the_same_part_each_time():
    def counts():
        arm = FakeArm(replace(CONFIG, drop_rate=0.3, seed=1), make_command(VELOCITIES))
        for _ in range(1000):
            arm.take(Received(np.zeros(6)), START)
        return arm.counts

    assert counts() == counts()
    assert 250 < counts()['lost'] < 350
