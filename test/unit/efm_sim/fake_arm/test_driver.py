"""The simulated arm: kinematics, limits, delays and lost commands."""

from __future__ import annotations

from dataclasses import replace

from arms import KINDS, make_command
from efm_core.poses import difference
from efm_sim.fake_arm.chain import Chain
from efm_sim.fake_arm.command import ReceivedCommand
from efm_sim.fake_arm.config import FakeDriverConfig
from efm_sim.fake_arm.driver import FakeArm
import numpy as np
import pytest

TRAJECTORY, POSITIONS, VELOCITIES, SERVO, POSE = KINDS
MS = 1_000_000
START = 10**12
CONFIG = FakeDriverConfig()
QUICK = FakeDriverConfig(latency_s=0.0)


def run(arm, duration_ms, start=START):
    """Step the arm every 10 ms for a duration; return the time at its end [ns]."""
    for now in range(start, start + duration_ms * MS + 1, 10 * MS):
        arm.step(now)
    return start + duration_ms * MS


@pytest.mark.parametrize('count', [5, 6, 7])
def test_the_jacobian_is_the_derivative_of_the_tool_pose(count):
    chain = Chain(count)
    step = 1e-6
    jacobian = chain.jacobian(chain.home)
    for joint in range(count):
        moved = chain.home.copy()
        moved[joint] += step
        change = difference(chain.forward(moved), chain.forward(chain.home)) / step
        np.testing.assert_allclose(jacobian[:, joint], change, atol=1e-5)


def test_a_straight_arm_is_as_high_as_the_sum_of_its_links():
    assert Chain(6).forward(np.zeros(6))[:3] == pytest.approx([0, 0, 1.3])


@pytest.mark.parametrize('kind', [TRAJECTORY, POSITIONS])
def test_a_position_command_is_reached(kind):
    arm = FakeArm(QUICK, make_command(kind))
    goal = arm.joints + 0.1
    assert arm.receive(ReceivedCommand(goal), START) == ''
    run(arm, 200)
    np.testing.assert_allclose(arm.joints, goal, atol=1e-9)


def test_a_trajectory_takes_its_duration():
    arm = FakeArm(QUICK, make_command(TRAJECTORY))
    begin = arm.joints.copy()
    arm.step(START)
    arm.receive(ReceivedCommand(begin + 0.1, duration_s=0.2), START)
    run(arm, 100)
    np.testing.assert_allclose(arm.joints - begin, 0.05, atol=0.006)


def test_the_velocity_limit_holds():
    arm = FakeArm(QUICK, make_command(POSITIONS))
    begin = arm.joints.copy()
    arm.step(START)
    arm.receive(ReceivedCommand(begin + 1.0), START)
    run(arm, 100)
    np.testing.assert_allclose(arm.joints - begin, 2.0 * 0.1, atol=1e-9)


def test_a_command_takes_effect_after_the_latency():
    arm = FakeArm(replace(CONFIG, latency_s=0.1), make_command(VELOCITIES))
    begin = arm.joints.copy()
    arm.receive(ReceivedCommand(np.full(6, 0.5)), START)
    now = run(arm, 90)
    np.testing.assert_array_equal(arm.joints, begin)
    run(arm, 100, now)
    assert (arm.joints > begin).all()


def test_a_twist_moves_the_tool_on_a_straight_line():
    arm = FakeArm(QUICK, make_command(SERVO))
    begin = arm.pose
    arm.step(START)
    arm.receive(ReceivedCommand(np.array([0.1, 0, 0, 0, 0, 0])), START)
    run(arm, 300)
    np.testing.assert_allclose(difference(arm.pose, begin), [0.03, 0, 0, 0, 0, 0], atol=2e-3)


def test_a_pose_command_is_reached():
    arm = FakeArm(replace(QUICK, watchdog_s=5.0), make_command(POSE))
    goal = arm.pose + np.array([0.03, -0.02, 0.01, 0, 0, 0, 0])
    arm.receive(ReceivedCommand(goal), START)
    run(arm, 1000)
    np.testing.assert_allclose(difference(goal, arm.pose), np.zeros(6), atol=1e-3)


@pytest.mark.parametrize('kind', [VELOCITIES, SERVO])
def test_the_watchdog_stops_the_arm_when_commands_cease(kind):
    arm = FakeArm(QUICK, make_command(kind))
    arm.receive(ReceivedCommand(np.array([0.1, 0, 0, 0, 0, 0])), START)
    now = run(arm, 490)
    assert np.abs(arm.velocities).max() > 0
    run(arm, 30, now)
    assert np.abs(arm.velocities).max() == 0
    assert arm.counts['watchdog'] == 1


@pytest.mark.parametrize(
    ('kind', 'received', 'word'),
    [
        (VELOCITIES, ReceivedCommand(np.zeros(5)), 'expected 6 numbers, got 5'),
        (SERVO, ReceivedCommand(np.full(6, np.nan)), 'expected finite'),
        (SERVO, ReceivedCommand(np.zeros(6), START - 101 * MS), 'stale command'),
        (POSITIONS, ReceivedCommand(np.full(6, 3.0)), 'joint limit'),
        (VELOCITIES, ReceivedCommand(np.full(6, -2.1)), 'speed'),
    ],
)
def test_an_invalid_command_is_refused_and_moves_nothing(kind, received, word):
    arm = FakeArm(CONFIG, make_command(kind))
    begin = arm.joints.copy()
    assert word in arm.receive(received, START)
    run(arm, 100)
    np.testing.assert_array_equal(arm.joints, begin)
    assert arm.counts == {'refused': 1}


def test_drop_rate_loses_the_same_commands_for_the_same_seed():
    def counts():
        arm = FakeArm(replace(CONFIG, drop_rate=0.3, seed=1), make_command(VELOCITIES))
        for _ in range(1000):
            arm.receive(ReceivedCommand(np.zeros(6)), START)
        return arm.counts

    assert counts() == counts()
    assert 250 < counts()['lost'] < 350
