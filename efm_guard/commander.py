"""One robot's commands: what was commanded last, and what may be commanded next."""

from __future__ import annotations

from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_guard.setpoints import (
    DriverCommand,
    gripper_position,
    limit,
    measured,
    RobotState,
    setpoint,
    stop,
)
import numpy as np


class Commander:
    """
    Turns actions into orders, and keeps the target that the next displacement begins at.

    :ivar target: the last numbers, or None after a stop.
    """

    def __init__(self, embodiment: Embodiment):
        self._robot = embodiment
        self._command = embodiment.command
        self._timeout_ns = int(self._command.state_timeout_s * 1e9)
        self.target: np.ndarray | None = None

    def driver_command(self, values: np.ndarray, state: RobotState, now: int) -> DriverCommand:
        """
        Return what goes to the robot for an action; ``now`` in nanoseconds.

        :raises ValueError: when the state is missing or old, or a limit is broken.
        """
        if self._needs_state:
            here = measured(state, self._command)
            expect(here is not None, 'state', 'a measured one', state.problem)
            age = f'{(now - state.stamp) / 1e9:.3f} s'
            limit_s = self._command.state_timeout_s
            expect(self._is_fresh(state, now), 'state', f'one of the last {limit_s} s', age)
        numbers = setpoint(values, state, self.target, self._robot)
        numbers = limit(numbers, state, self.target, self._robot)
        expect(np.isfinite(numbers).all(), 'command', 'finite numbers', numbers)
        command = DriverCommand(numbers, gripper_position(values, self._command))
        self.target = numbers
        return command

    def stop(self, state: RobotState, now: int) -> np.ndarray | None:
        """Return what stops the robot; the next displacement begins where it is then."""
        numbers = stop(state, self.target, self._command, self._is_fresh(state, now))
        self.target = None
        return numbers

    @property
    def _needs_state(self) -> bool:
        return self._command.drives_joints or self._command.needs_pose

    def _is_fresh(self, state: RobotState, now: int) -> bool:
        return abs(now - state.stamp) <= self._timeout_ns
