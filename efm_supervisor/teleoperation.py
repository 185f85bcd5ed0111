"""A person's twists and buttons as actions and words, without ROS."""

from __future__ import annotations

from collections.abc import Sequence

from efm_core.command import ANGULAR, LINEAR
from efm_core.config import expect
from efm_core.embodiment import Embodiment
import numpy as np

COMPONENTS = (*LINEAR, *ANGULAR)  # of a twist, in order


class Hand:
    """
    What a person's hand wants, as the action of one control step.

    A component of the twist drives one dimension each: a displacement per step gets what the
    speed makes in one control period, a velocity gets the speed itself, a gripper opens and closes
    at it. Letters: ``A`` action size.

    :param axes: the component for every dimension, divided by commas; empty for those that the
        embodiment names.
    :param twist_timeout_s: a twist that is older means to hold [s].
    """

    def __init__(self, robot: Embodiment, axes: str, *, twist_timeout_s: float):
        """
        Map the components.

        :raises ValueError: when they do not fit, or the robot is told positions.
        """
        command = robot.command
        own = (
            COMPONENTS[: len(robot.action.names)]
            if command.is_planar_displacement
            else command.axes
        )
        words = tuple(word.strip() for word in axes.split(',')) if axes else own
        expect(
            len(words) == len(robot.action.names) and set(words) <= set(COMPONENTS),
            'axes',
            f'one of {", ".join(COMPONENTS)} for each of {", ".join(robot.action.names)}',
            ', '.join(words),
        )
        speeds = command.mode == 'absolute'
        expect(
            not speeds or command.interface_type in ('twist', 'velocities'),
            'command.mode',
            'delta, or a driver of velocities, for a person who gives speeds',
            f'{command.mode} {command.interface_type}',
        )
        self._columns = [COMPONENTS.index(word) for word in words]
        self._is_gripper = np.array([command.is_gripper(axis) for axis in command.axes or own])
        self._per_step = 1.0 if speeds else 1 / robot.control_rate_hz
        self._period_s = 1 / robot.control_rate_hz
        self._frame = command.frame
        self._stale_s = twist_timeout_s
        self._low = np.array(robot.action.low)
        self._high = np.array(robot.action.high)
        self._grip = self._high.copy()
        self._twist = np.zeros(len(COMPONENTS))
        self._at = -np.inf

    def move(self, twist: np.ndarray, frame: str, now: float) -> None:
        """
        Take a twist, ``(6,)`` [m/s, rad/s]; ``now`` [s] of a clock that never stops.

        :raises ValueError: when it is in another frame or not finite; the hand then holds.
        """
        self._at = -np.inf
        expect(frame in ('', self._frame), 'teleop_twist: frame', self._frame, repr(frame))
        expect(bool(np.isfinite(twist).all()), 'teleop_twist', 'finite numbers', twist)
        self._twist = np.asarray(twist, float)
        self._at = now

    def action(self, now: float) -> np.ndarray:
        """Return the action for this control step, ``(A,)`` float32 in the embodiment's units."""
        fresh = now - self._at <= self._stale_s
        speeds = self._twist[self._columns] if fresh else np.zeros(len(self._columns))
        self._grip = np.clip(self._grip + speeds * self._period_s, self._low, self._high)
        values = np.where(self._is_gripper, self._grip, speeds * self._per_step)
        return np.clip(values, self._low, self._high).astype(np.float32)


class Buttons:
    """Which word a person says, from the buttons that go down."""

    def __init__(self, **words: int):
        """Take each word's button; a negative number for none."""
        self._words = {index: word for word, index in words.items() if index >= 0}
        self._down: frozenset[int] = frozenset()

    def press(self, buttons: Sequence[int]) -> list[str]:
        """Return the words whose buttons were up and are down."""
        down = frozenset(index for index, state in enumerate(buttons) if state)
        new, self._down = down - self._down, down
        return [self._words[index] for index in sorted(new) if index in self._words]
