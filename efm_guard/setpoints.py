"""
From an action to the values of a driver command, and to those that stop the robot.

Pure functions of the action's values, the measured state and the embodiment. The values are those
of `Command.interface_type`: ``twist`` ``(6,)`` [m/s, rad/s], ``velocities`` and ``positions``
``(J,)`` in the order of the joints, ``pose`` ``(7,)`` of the tool in the command's frame,
``action`` ``(A,)`` in the units of the embodiment.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY

from efm_core.command import ANGULAR, Command, GRIPPER, LINEAR
from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.poses import difference, from_rotation_vector, multiply
import numpy as np

SLACK = 1e-6  # float32 actions may exceed a limit by this much
TIME_SLACK = 1e-4  # a command may come early by this part of the time that it needs


@dataclass(frozen=True)
class RobotState:
    """
    The newest measured state; None for a part that was never measured.

    :param positions: of the command's joints, ``(J,)`` [rad or m].
    :param pose: of the tool in the command's frame, ``(7,)``.
    :param stamp: of the part that the command needs [ns].
    :param problem: why a part is missing.
    """

    positions: np.ndarray | None = None
    pose: np.ndarray | None = None
    _: KW_ONLY
    stamp: int = 0
    problem: str = 'nothing measured yet'


@dataclass(frozen=True)
class DriverCommand:
    """
    The command for one action.

    :param values: see the top of this module.
    :param gripper: position of the gripper; None without one.
    """

    values: np.ndarray
    gripper: float | None = None


def measured(state: RobotState, command: Command) -> np.ndarray | None:
    """Return the measured positions or pose that a command starts from; None if unknown."""
    return state.positions if command.drives_joints else state.pose


def setpoint(
    values: np.ndarray, state: RobotState, target: np.ndarray | None, robot: Embodiment
) -> np.ndarray:
    """
    Return the values that an action asks for, before limits.

    :param values: ``(A,)``, units of the embodiment.
    :param target: values of the last command, where displacements of positions and poses begin;
        None: they begin at the measured state.
    """
    command = robot.command
    values = np.asarray(values, np.float64)
    rate = robot.control_rate_hz if command.mode == 'delta' else 1.0
    if command.is_planar_displacement:
        return np.pad(values[:2] * rate, (0, 6 - len(values[:2])))
    if command.is_simulated:
        return values
    arm = [
        value
        for axis, value in zip(command.axes, values, strict=True)
        if not command.is_gripper(axis)
    ]
    driven = _indices(command)
    if command.interface_type in ('twist', 'velocities'):
        size = 6 if command.interface_type == 'twist' else len(command.joints)
        wanted: np.ndarray = np.zeros(size)
        wanted[driven] = np.array(arm) * rate
        return wanted
    start = _known(measured(state, command)) if target is None else target
    if command.interface_type == 'positions':
        wanted = start.copy()
        wanted[driven] = np.array(arm) + (start[driven] if command.mode == 'delta' else 0.0)
        return wanted
    return _moved_pose(start, driven, np.array(arm), command.mode)


def stop(
    state: RobotState, target: np.ndarray | None, robot: Embodiment, fresh: bool
) -> np.ndarray | None:
    """
    Return the values that stop the robot: zero speed, or its present position.

    :param target: values of the last command.
    :param fresh: whether ``state`` is new enough; otherwise the robot stays at the target.
    :return: None if there was no command yet and the state is unknown.
    """
    command = robot.command
    if command.interface_type == 'action':
        return robot.standstill(target)
    if command.interface_type == 'twist':
        return np.zeros(6)
    if command.interface_type == 'velocities':
        return np.zeros(len(command.joints))
    here = measured(state, command)
    return here if fresh and here is not None else target


def limit(
    values: np.ndarray, state: RobotState, asked: np.ndarray | None, robot: Embodiment
) -> np.ndarray:
    """
    Return the values within the limits, for a command that follows after one control period.

    :param asked: values that the last action asked for; None: the speed counts from the measured
        state.
    :raises ValueError: when a limit is broken and values are not clamped to it.
    """
    command = robot.command
    if command.is_simulated:
        return values
    here = measured(state, command)
    low, high = _ends(values, here, robot)
    bounded = _keep(values, low, high, command)
    if command.interface_type in ('twist', 'velocities'):
        _check_speed(bounded, command)
        return bounded
    start = _known(here) if asked is None else asked
    _check_speed(_change(bounded, start, command) * robot.control_rate_hz, command)
    return bounded


def shorten(
    values: np.ndarray,
    state: RobotState,
    target: np.ndarray | None,
    robot: Embodiment,
    elapsed_s: float,
) -> np.ndarray:
    """
    Return positions or a pose that the last command's successor may have after ``elapsed_s``.

    The command lies on the way from the last one to ``values``, as far as the speed limits allow
    in this time; ``values`` itself if that is far enough. Velocities need no such limit: they do
    not grow when they come early.

    :param target: values of the last command; None: the way begins at the measured state.
    """
    command = robot.command
    if command.is_simulated or command.interface_type in ('twist', 'velocities'):
        return values
    start = _known(measured(state, command)) if target is None else target
    change = _change(values, start, command)
    needed_s = _duration(change, command)
    if needed_s <= elapsed_s * (1 + TIME_SLACK):
        return values
    part = max(elapsed_s, 0.0) / needed_s
    if command.drives_joints:
        return np.asarray(start + part * change)
    return _displaced(start, part * change)


def check_following_error(values: np.ndarray, state: RobotState, command: Command) -> None:
    """
    Refuse positions or a pose that are too far from the measured ones.

    :raises ValueError: with the distance.
    """
    largest = command.limits.max_following_error
    if not largest or command.interface_type in ('twist', 'velocities'):
        return
    here = _known(measured(state, command))
    if command.drives_joints:
        error = float(np.abs(values - here).max())
    else:
        error = float(np.linalg.norm(values[:3] - here[:3]))
    fits = error <= largest + SLACK
    expect(fits, 'following error', f'{largest:.4g} at most', f'{error:.4g}')


def gripper_position(values: np.ndarray, command: Command) -> float | None:
    """
    Return the wanted position of the gripper; None without one.

    :raises ValueError: when it is out of its range.
    """
    if not any(map(command.is_gripper, command.axes)):
        return None
    gripper = command.gripper
    value = float(values[command.axes.index(GRIPPER)])
    inside = gripper.low - SLACK <= value <= gripper.high + SLACK
    expect(inside, 'gripper', f'{gripper.low} to {gripper.high}', value)
    return min(max(value, gripper.low), gripper.high)


def _known(measured_values: np.ndarray | None) -> np.ndarray:
    """
    Return the measured positions or pose.

    :raises ValueError: when they are unknown.
    """
    if measured_values is None:
        raise ValueError('state: expected a measured one, got none')
    return measured_values


def _indices(command: Command) -> list[int]:
    names = command.joints if command.drives_joints else LINEAR + ANGULAR
    return [names.index(axis) for axis in command.arm_axes]


def _moved_pose(start: np.ndarray, driven: list[int], arm: np.ndarray, mode: str) -> np.ndarray:
    change = np.zeros(6)
    if mode == 'absolute':
        pose: np.ndarray = start.copy()
        pose[driven] = arm
        return pose
    change[driven] = arm
    return _displaced(start, change)


def _displaced(start: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return a pose, ``(7,)``, moved and turned by ``change``, ``(6,)`` [m, rad]."""
    pose: np.ndarray = start.copy()
    pose[:3] += change[:3]
    turned = multiply(from_rotation_vector(change[3:]), pose[3:])
    pose[3:] = turned / float(np.linalg.norm(turned))
    return pose


def _change(values: np.ndarray, start: np.ndarray, command: Command) -> np.ndarray:
    """Return the way between two positions, ``(J,)``, or two poses, ``(6,)``."""
    if command.drives_joints:
        return np.asarray(values - start)
    return np.asarray(difference(values, start))


def _duration(change: np.ndarray, command: Command) -> float:
    """Return the shortest time in which the speed limits allow a change [s]."""
    limits = command.limits
    if command.drives_joints:
        return float((np.abs(change) / np.array(limits.max_velocity)).max())
    pairs = (
        (change[:3], limits.max_linear_velocity),
        (change[3:], limits.max_angular_velocity),
    )
    return max(float(np.linalg.norm(part)) / most for part, most in pairs if most)


def _ends(
    values: np.ndarray, here: np.ndarray | None, robot: Embodiment
) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest values that keep joints and tool within limits."""
    command = robot.command
    limits = robot.command.limits
    low = np.full(len(values), -np.inf)
    high = np.full(len(values), np.inf)
    if command.drives_joints:
        low[:] = limits.position_min
        high[:] = limits.position_max
    elif limits.workspace_min:
        low[:3] = limits.workspace_min
        high[:3] = limits.workspace_max
    if command.interface_type in ('twist', 'velocities') and here is not None:
        place = here[:3] if command.interface_type == 'twist' else here
        count = len(place)
        # Outside the range, only motion back is allowed.
        low[:count] = np.minimum(0, (low[:count] - place) * robot.control_rate_hz)
        high[:count] = np.maximum(0, (high[:count] - place) * robot.control_rate_hz)
    return low, high


def _keep(values: np.ndarray, low: np.ndarray, high: np.ndarray, command: Command) -> np.ndarray:
    """Return the values between two ends; clamp them if the embodiment allows it."""
    bounded: np.ndarray = np.clip(values, low, high)
    outside = np.flatnonzero(np.abs(bounded - values) > SLACK)
    if outside.size and command.limits.on_violation == 'refuse':
        first = int(outside[0])
        names = command.joints if command.drives_joints else (*LINEAR, *ANGULAR, 'w')
        what = 'joint limit' if command.drives_joints else 'workspace'
        allowed = f'{low[first]:.4g} to {high[first]:.4g}'
        expect(False, f'{what} of {names[first]}', allowed, f'{values[first]:.4g}')
    return bounded


def _check_speed(speeds: np.ndarray, command: Command) -> None:
    limits = command.limits
    if command.drives_joints:
        excess = np.abs(speeds) - np.array(limits.max_velocity)
        worst = int(excess.argmax())
        allowed = f'{limits.max_velocity[worst]:.4g} at most'
        fits = excess[worst] <= SLACK
        expect(fits, f'speed of {command.joints[worst]}', allowed, f'{abs(speeds[worst]):.4g}')
        return
    for word, part, largest in (
        ('linear', speeds[:3], limits.max_linear_velocity),
        ('angular', speeds[3:], limits.max_angular_velocity),
    ):
        speed = float(np.linalg.norm(part))
        expect(speed <= largest + SLACK, f'{word} speed', f'{largest:.4g} at most', f'{speed:.4g}')
