"""The commands of one robot: the last one, and which may follow."""

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
    Turns actions into driver commands, and keeps the target at which the next displacement begins.

    :ivar target: values of the last command; None after a stop.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        self._robot = embodiment
        self._command = embodiment.command
        self._timeout_ns = int(self._command.state_timeout_s * 1e9)
        self.target: np.ndarray | None = None

    def driver_command(self, values: np.ndarray, state: RobotState, now: int) -> DriverCommand:
        """
        Return the driver command for an action.

        :param values: ``(A,)``, units of the embodiment.
        :param now: [ns].
        :raises ValueError: when the state is missing or old, or the command breaks a limit.
        """
        if self._needs_state:
            here = measured(state, self._command)
            expect(here is not None, 'state', 'a measured one', state.problem)
            age = f'{(now - state.stamp) / 1e9:.3f} s'
            limit_s = self._command.state_timeout_s
            expect(self._is_fresh(state, now), 'state', f'one of the last {limit_s} s', age)
        wanted = setpoint(values, state, self.target, self._robot)
        allowed = limit(wanted, state, self.target, self._robot)
        expect(bool(np.isfinite(allowed).all()), 'command', 'finite numbers', allowed)
        command = DriverCommand(allowed, gripper_position(values, self._command))
        self.target = allowed
        return command

    def stop(self, state: RobotState, now: int) -> np.ndarray | None:
        """Return the values that stop the robot, or None; the next displacement begins there."""
        values = stop(state, self.target, self._command, self._is_fresh(state, now))
        self.target = None
        return values

    @property
    def _needs_state(self) -> bool:
        return self._command.drives_joints or self._command.needs_pose

    def _is_fresh(self, state: RobotState, now: int) -> bool:
        return abs(now - state.stamp) <= self._timeout_ns
