"""Twists and joystick buttons as actions and button events, without ROS."""

from __future__ import annotations

from collections.abc import Sequence

from efm_core.command import ANGULAR, LINEAR
from efm_core.config import expect
from efm_core.embodiment import Embodiment
import numpy as np

COMPONENTS = (*LINEAR, *ANGULAR)  # of a twist, in order


class TeleopInput:
    """
    Turns the newest twist of a person into the action of one control step.

    One component of the twist drives each dimension of the action. A displacement per control step
    is the speed times the control period, a velocity is the speed itself, and a gripper opens and
    closes at the speed. Letters: ``A`` action size.

    :param axes: the component for each dimension, separated by commas; empty for the axes of the
        embodiment.
    :param twist_timeout_s: after this time without a twist the action holds the robot [s].
    """

    def __init__(self, robot: Embodiment, axes: str, *, twist_timeout_s: float):
        """
        Map the components to the dimensions.

        :raises ValueError: when they do not fit, or the robot takes absolute positions.
        """
        command = robot.command
        names = robot.action.names
        drivable = command.is_planar_displacement or not command.is_simulated
        wanted = "a driver of twists, or an arm's: no twist has the units of a simulated action"
        expect(drivable, 'command.controller', wanted, command.controller)
        own = COMPONENTS[: len(names)] if command.is_planar_displacement else command.axes
        components = tuple(word.strip() for word in axes.split(',')) if axes else own
        expect(
            len(components) == len(names) and set(components) <= set(COMPONENTS),
            'axes',
            f'one of {", ".join(COMPONENTS)} for each of {", ".join(names)}',
            ', '.join(components),
        )
        is_velocity = command.mode == 'absolute'
        expect(
            not is_velocity or command.interface_type in ('twist', 'velocities'),
            'command.mode',
            'delta, or a driver of velocities, because a twist is a velocity',
            f'{command.mode} {command.interface_type}',
        )
        self._columns = [COMPONENTS.index(component) for component in components]
        self._is_gripper = np.array([command.is_gripper(axis) for axis in command.axes or own])
        self._per_step = 1.0 if is_velocity else 1 / robot.control_rate_hz
        self._period_s = 1 / robot.control_rate_hz
        self._frame = command.frame
        self._timeout_s = twist_timeout_s
        self._low = np.array(robot.action.low)
        self._high = np.array(robot.action.high)
        self._gripper = self._high.copy()
        self._twist = np.zeros(len(COMPONENTS))
        self._received_at = -np.inf

    def receive(self, twist: np.ndarray, frame: str, now: float) -> None:
        """
        Take a new twist; one that is rejected leaves no twist, so the robot holds.

        :param twist: ``(6,)`` [m/s, rad/s].
        :param frame: of the twist; '' for the frame of the embodiment.
        :param now: [s] of a clock that never stops.
        :raises ValueError: when the frame differs or a number is not finite.
        """
        self._received_at = -np.inf
        expect(frame in ('', self._frame), 'teleop_twist: frame', self._frame, repr(frame))
        expect(bool(np.isfinite(twist).all()), 'teleop_twist', 'finite numbers', twist)
        self._twist = np.asarray(twist, float)
        self._received_at = now

    def action(self, now: float) -> np.ndarray:
        """Return the action of this control step, ``(A,)`` float32, units of the embodiment."""
        is_fresh = now - self._received_at <= self._timeout_s
        speeds = self._twist[self._columns] if is_fresh else np.zeros(len(self._columns))
        self._gripper = np.clip(self._gripper + speeds * self._period_s, self._low, self._high)
        values = np.where(self._is_gripper, self._gripper, speeds * self._per_step)
        return np.clip(values, self._low, self._high).astype(np.float32)


class Buttons:
    """
    Turns joystick states into button events.

    :param events: the button index of each event; negative for none.
    """

    def __init__(self, **events: int):
        self._events = {index: event for event, index in events.items() if index >= 0}
        self._down: frozenset[int] = frozenset()

    def press(self, buttons: Sequence[int]) -> list[str]:
        """Return the events whose buttons were up and are down now."""
        down = frozenset(index for index, state in enumerate(buttons) if state)
        pressed = down - self._down
        self._down = down
        return [self._events[index] for index in sorted(pressed) if index in self._events]
