"""What an action becomes for each kind of driver, what stops it, and what is refused."""

from __future__ import annotations

from dataclasses import replace

from arms import GRIPPER, JOINT_LIMITS, KINDS, limits_of, make_arm, pose, TOOL_LIMITS
from efm_guard.commander import Commander
from efm_guard.moment import Moment
from efm_guard.setpoints import RobotState
from models import table_arm
import numpy as np
import pytest

TRAJECTORY, POSITIONS, VELOCITIES, SERVO, POSE = KINDS
MS = 10**6
NOW = 10**12  # [ns]


def at(ms=0):
    """Return a moment, on both clocks, ``ms`` after NOW."""
    return Moment(NOW + ms * MS, NOW + ms * MS)


HERE = np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.6])
STATE = RobotState(HERE, pose(0.4, 0.0, 0.2), stamp=NOW)
ON_JOINTS = (TRAJECTORY, POSITIONS)
NEED_STATE = (TRAJECTORY, POSITIONS, VELOCITIES, SERVO, POSE)
SMALL = np.array([0.02, -0.05], np.float32)


def setpoint_of(robot, values=SMALL, state=STATE):
    """Return the numbers for the first action."""
    return Commander(robot).driver_command(np.array(values, np.float32), state, at()).values


def clamping(kind):
    """Return an arm that clamps."""
    return make_arm(kind, limits=replace(limits_of(kind), on_violation='clamp'))


def test_the_tables_displacement_is_the_velocity_that_makes_it_and_needs_no_state():
    numbers = setpoint_of(table_arm(), [0.01, -0.02], RobotState())
    velocity = np.array([0.01, -0.02], np.float32).astype(float) * 10
    np.testing.assert_array_equal(numbers, [*velocity, 0, 0, 0, 0])


@pytest.mark.parametrize('kind', ON_JOINTS)
def test_a_displacement_of_joints_moves_the_driven_ones_and_holds_the_others(kind):
    np.testing.assert_allclose(setpoint_of(make_arm(kind)), [0.12, -0.25, 0.3, 0.4, 0.5, 0.6])


@pytest.mark.parametrize('kind', ON_JOINTS)
def test_an_absolute_action_is_the_position_itself(kind):
    robot = make_arm(kind, mode='absolute')
    np.testing.assert_allclose(setpoint_of(robot, [0.1, -0.1]), [0.1, -0.1, 0.3, 0.4, 0.5, 0.6])


def test_axes_may_come_in_any_order():
    robot = make_arm(POSITIONS, axes=('joint6', 'joint2'))
    np.testing.assert_allclose(setpoint_of(robot), [0.1, -0.25, 0.3, 0.4, 0.5, 0.62])


def test_velocities_make_the_displacement_within_one_period():
    np.testing.assert_allclose(setpoint_of(make_arm(VELOCITIES)), [0.2, -0.5, 0, 0, 0, 0])
    absolute = make_arm(VELOCITIES, mode='absolute')
    np.testing.assert_allclose(setpoint_of(absolute), [0.02, -0.05, 0, 0, 0, 0])


def test_a_twist_moves_along_x_and_turns_about_z():
    np.testing.assert_allclose(setpoint_of(make_arm(SERVO)), [0.2, 0, 0, 0, 0, -0.5])


def test_a_pose_is_moved_and_turned_about_the_frames_axes():
    numbers = setpoint_of(make_arm(POSE))
    np.testing.assert_allclose(numbers[:3], [0.42, 0.0, 0.2])
    np.testing.assert_allclose(numbers[3:], [0, 0, np.sin(-0.025), np.cos(0.025)], atol=1e-8)


def test_an_absolute_pose_holds_what_is_not_driven():
    robot = make_arm(POSE, low=-1, high=1, mode='absolute', axes=('x', 'y'))
    np.testing.assert_allclose(setpoint_of(robot, [0.42, 0.01]), [0.42, 0.01, 0.2, 0, 0, 0, 1])


@pytest.mark.parametrize('kind', [*ON_JOINTS, POSE])
def test_the_next_displacement_begins_at_the_last_target_not_at_the_lagging_arm(kind):
    commander = Commander(make_arm(kind))
    first = commander.driver_command(SMALL, STATE, at()).values
    second = commander.driver_command(SMALL, STATE, at(100)).values
    assert second[0] - first[0] == pytest.approx(0.02)


@pytest.mark.parametrize('kind', [*ON_JOINTS, POSE])
def test_after_a_stop_it_begins_where_the_arm_is(kind):
    commander = Commander(make_arm(kind))
    first = commander.driver_command(SMALL, STATE, at()).values
    commander.stop(STATE, at(50))
    np.testing.assert_array_equal(commander.driver_command(SMALL, STATE, at(150)).values, first)


@pytest.mark.parametrize('kind', NEED_STATE)
def test_stop_is_no_speed_or_to_stay(kind):
    expected = {VELOCITIES: np.zeros(6), SERVO: np.zeros(6), POSE: STATE.pose}.get(kind, HERE)
    commander = Commander(make_arm(kind))
    commander.driver_command(SMALL, STATE, at())
    np.testing.assert_array_equal(commander.stop(STATE, at()), expected)


@pytest.mark.parametrize('kind', [*ON_JOINTS, POSE])
def test_whoever_does_not_know_where_the_arm_is_stops_at_the_last_target(kind):
    commander = Commander(make_arm(kind))
    target = commander.driver_command(SMALL, STATE, at()).values
    np.testing.assert_array_equal(commander.stop(STATE, at(201)), target)
    assert commander.stop(RobotState(), at()) is None


@pytest.mark.parametrize('kind', [VELOCITIES, SERVO])
def test_a_velocity_can_be_stopped_whatever_is_known(kind):
    np.testing.assert_array_equal(Commander(make_arm(kind)).stop(RobotState(), at()), np.zeros(6))


@pytest.mark.parametrize('kind', NEED_STATE)
@pytest.mark.parametrize('age_ms', [201, -201])
def test_old_state_and_state_from_the_future_are_not_acted_on(kind, age_ms):
    setpoint_of(make_arm(kind), state=replace(STATE, stamp=NOW - 200 * MS))
    with pytest.raises(ValueError, match=r'state: expected one of the last 0.2 s, got -?0.201 s'):
        setpoint_of(make_arm(kind), state=replace(STATE, stamp=NOW - age_ms * MS))


@pytest.mark.parametrize('kind', NEED_STATE)
def test_without_state_the_reason_is_said(kind):
    with pytest.raises(ValueError, match='expected a measured one, got tf: nothing'):
        setpoint_of(make_arm(kind), state=RobotState(problem='tf: nothing'))


def test_a_twist_without_a_box_needs_no_state():
    limits = replace(TOOL_LIMITS, workspace_min=(), workspace_max=())
    setpoint_of(make_arm(SERVO, limits=limits), state=RobotState())


NEAR_THE_END = {
    TRAJECTORY: RobotState(np.array([1.99, 0, 0, 0, 0, 0]), None, stamp=NOW),
    POSITIONS: RobotState(np.array([1.99, 0, 0, 0, 0, 0]), None, stamp=NOW),
    VELOCITIES: RobotState(np.array([1.99, 0, 0, 0, 0, 0]), None, stamp=NOW),
    SERVO: RobotState(None, pose(1.99), stamp=NOW),
    POSE: RobotState(None, pose(1.99), stamp=NOW),
}


@pytest.mark.parametrize('kind', NEED_STATE)
def test_a_command_past_a_limit_is_refused_with_the_joint_or_axis(kind):
    name = 'x' if kind in (SERVO, POSE) else 'joint1'
    what = 'workspace' if name == 'x' else 'joint limit'
    with pytest.raises(ValueError, match=f'{what} of {name}: expected'):
        setpoint_of(make_arm(kind), [0.02, 0.0], NEAR_THE_END[kind])


@pytest.mark.parametrize('kind', NEED_STATE)
def test_or_clamped_where_the_embodiment_says_so(kind):
    first = setpoint_of(clamping(kind), [0.02, 0.0], NEAR_THE_END[kind])[0]
    assert first == pytest.approx(0.1 if kind in (VELOCITIES, SERVO) else 2.0)


@pytest.mark.parametrize('kind', [VELOCITIES, SERVO])
def test_whoever_is_outside_may_come_back_but_not_go_on(kind):
    outside = RobotState(np.array([2.1, 0, 0, 0, 0, 0]), pose(2.1), stamp=NOW)
    assert setpoint_of(make_arm(kind), [-0.02, 0.0], outside)[0] == pytest.approx(-0.2)
    with pytest.raises(ValueError, match='expected -'):
        setpoint_of(make_arm(kind), [0.001, 0.0], outside)
    assert setpoint_of(clamping(kind), [0.001, 0.0], outside)[0] == 0.0


@pytest.mark.parametrize('kind', ON_JOINTS)
def test_a_clamp_may_not_make_a_leap(kind):
    outside = RobotState(np.array([2.3, 0, 0, 0, 0, 0]), None, stamp=NOW)
    with pytest.raises(ValueError, match='speed of joint1: expected 1 at most, got 3'):
        setpoint_of(clamping(kind), [0.0, 0.0], outside)


@pytest.mark.parametrize('kind', ON_JOINTS)
def test_a_joint_that_would_be_too_fast_is_named(kind):
    with pytest.raises(ValueError, match=r'speed of joint2: expected 1 at most, got 1\.1'):
        setpoint_of(make_arm(kind, low=-1, high=1), [0.0, 0.11])


@pytest.mark.parametrize(('values', 'word'), [((0.031, 0), 'linear'), ((0, 0.11), 'angular')])
@pytest.mark.parametrize('kind', [SERVO, POSE])
def test_a_tool_that_would_be_too_fast_is_refused(kind, values, word):
    with pytest.raises(ValueError, match=f'{word} speed: expected .* at most'):
        setpoint_of(make_arm(kind, low=-1, high=1), values)


def test_the_joint_at_its_very_limit_passes_whatever_float32_makes_of_it():
    limits = replace(JOINT_LIMITS, position_max=(0.1,) + (2.0,) * 5)
    robot = make_arm(POSITIONS, mode='absolute', limits=limits)
    assert setpoint_of(robot, [0.1, -0.2 + 0.1])[0] == pytest.approx(0.1)


@pytest.mark.parametrize('kind', ON_JOINTS)
def test_a_target_may_not_run_away_from_an_arm_that_is_stuck(kind):
    commander = Commander(make_arm(kind))
    steps = [(np.array([0.05, 0], np.float32), at(100 * step)) for step in range(11)]
    for values, now in steps[:10]:
        commander.driver_command(values, replace(STATE, stamp=now.ros), now)
    values, now = steps[10]
    with pytest.raises(ValueError, match=r'following error: expected 0\.5 at most'):
        commander.driver_command(values, replace(STATE, stamp=now.ros), now)
    assert commander.target[0] - HERE[0] == pytest.approx(0.5)
    commander.driver_command(-values, replace(STATE, stamp=now.ros), now)


def test_a_refused_action_leaves_the_target_as_it_was():
    commander = Commander(make_arm(POSITIONS, low=-1, high=1))
    target = commander.driver_command(SMALL, STATE, at()).values
    with pytest.raises(ValueError, match='speed'):
        commander.driver_command(np.array([0.2, 0.0], np.float32), STATE, at(100))
    np.testing.assert_array_equal(commander.target, target)


def test_what_was_measured_is_never_changed():
    for kind in NEED_STATE:
        setpoint_of(make_arm(kind))
    np.testing.assert_array_equal(STATE.positions, [0.1, -0.2, 0.3, 0.4, 0.5, 0.6])
    np.testing.assert_array_equal(STATE.pose, pose(0.4, 0.0, 0.2))


def test_the_grippers_value_is_its_position():
    robot = make_arm(
        POSITIONS, low=0.0, high=0.08, axes=('joint1', 'gripper'), gripper=GRIPPER, mode='absolute'
    )
    found = Commander(robot).driver_command(np.array([0.08, 0.08], np.float32), STATE, at())
    assert found.gripper == pytest.approx(0.08)
    np.testing.assert_allclose(found.values, [0.08, -0.2, 0.3, 0.4, 0.5, 0.6])
    with pytest.raises(ValueError, match=r'gripper: expected 0.0 to 0.08'):
        Commander(robot).driver_command(np.array([0.08, 0.09], np.float32), STATE, at())


@pytest.mark.parametrize('elapsed_ms', [10, 33, 99])
@pytest.mark.parametrize('kind', [*ON_JOINTS, POSE])
def test_a_position_that_comes_early_keeps_the_speed_limit_in_real_time(kind, elapsed_ms):
    """The limits of the arm: 1 rad/s a joint; 0.3 m/s and 1 rad/s the tool."""
    robot = make_arm(kind, low=-1, high=1)
    fast = np.float32([0.03, 0.1] if kind == POSE else [0.05, 0.1])
    commander = Commander(robot)
    first = commander.driver_command(fast, STATE, at()).values
    second = commander.driver_command(fast, STATE, at(elapsed_ms)).values
    assert second[0] - first[0] == pytest.approx(fast[0] * elapsed_ms / 100)
    if kind != POSE:
        assert second[1] - first[1] == pytest.approx(0.001 * elapsed_ms)
    assert commander.shortened == 1


@pytest.mark.parametrize('kind', [*ON_JOINTS, POSE])
def test_an_early_position_within_the_limit_is_sent_as_it_is(kind):
    commander = Commander(make_arm(kind))
    first = commander.driver_command(SMALL / 5, STATE, at()).values
    second = commander.driver_command(SMALL / 5, STATE, at(33)).values
    assert second[0] - first[0] == pytest.approx(0.004)
    assert commander.shortened == 0


@pytest.mark.parametrize('kind', [VELOCITIES, SERVO])
def test_a_velocity_that_comes_early_is_no_faster(kind):
    commander = Commander(make_arm(kind))
    first = commander.driver_command(SMALL, STATE, at()).values
    np.testing.assert_array_equal(commander.driver_command(SMALL, STATE, at(33)).values, first)


def test_a_late_command_may_not_make_up_for_the_time():
    commander = Commander(make_arm(POSITIONS, low=-1, high=1))
    commander.driver_command(np.float32([0.05, 0]), STATE, at())
    late = replace(STATE, stamp=at(900).ros)
    with pytest.raises(ValueError, match='speed of joint1: expected 1 at most, got 2'):
        commander.driver_command(np.float32([0.2, 0]), late, at(900))


def test_a_stop_between_two_commands_gives_no_more_speed():
    commander = Commander(make_arm(POSITIONS, low=-1, high=1))
    commander.driver_command(np.float32([0.1, 0]), STATE, at())
    commander.stop(STATE, at(20))
    third = commander.driver_command(np.float32([0.1, 0]), STATE, at(30)).values
    assert third[0] - HERE[0] == pytest.approx(0.01)


def test_an_absolute_target_is_reached_after_early_commands():
    robot = make_arm(POSITIONS, low=-1, high=1, mode='absolute')
    commander = Commander(robot)
    sent = []
    for ms, goal in ((0, 0.2), (50, 0.3), (150, 0.3)):
        state = replace(STATE, stamp=at(ms).ros)
        sent.append(commander.driver_command(np.float32([goal, -0.2]), state, at(ms)).values[0])
    assert sent == pytest.approx([0.2, 0.25, 0.3])
