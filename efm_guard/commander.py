"""The commands of one robot: the last one, and which may follow."""

from __future__ import annotations

from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_guard.moment import Moment
from efm_guard.setpoints import (
    check_following_error,
    DriverCommand,
    gripper_position,
    limit,
    measured,
    RobotState,
    setpoint,
    shorten,
    stop,
)
import numpy as np


class Commander:
    """
    Turns actions into driver commands, and keeps the target at which the next displacement begins.

    A position or a pose that comes sooner than a control period after the last command is brought
    nearer to it, so that its speed in real time keeps the limit.

    :ivar target: values of the last command; None after a stop. A simulated robot's gripper has
        no measured value to begin at, so that its last command stays.
    :ivar shortened: number of commands that were brought nearer.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        self._robot = embodiment
        self._command = embodiment.command
        self._timeout_ns = int(self._command.state_timeout_s * 1e9)
        self.target: np.ndarray | None = None
        self.shortened = 0
        self._asked: np.ndarray | None = None  # what the last action asked for, before `shorten`
        self._sent_at = 0  # [ns], steady; of the last command or stop

    def driver_command(self, values: np.ndarray, state: RobotState, now: Moment) -> DriverCommand:
        """
        Return the driver command for an action.

        :param values: ``(A,)``, units of the embodiment.
        :raises ValueError: when the state is missing or old, or the command breaks a limit.
        """
        if self._needs_state:
            here = measured(state, self._command)
            expect(here is not None, 'state', 'a measured one', state.problem)
            age = f'{(now.ros - state.stamp) / 1e9:.3f} s'
            limit_s = self._command.state_timeout_s
            expect(self._is_fresh(state, now), 'state', f'one of the last {limit_s} s', age)
        wanted = setpoint(values, state, self.target, self._robot)
        asked = limit(wanted, state, self._asked, self._robot)
        allowed = shorten(asked, state, self.target, self._robot, self._elapsed_s(now))
        check_following_error(allowed, state, self._command)
        expect(bool(np.isfinite(allowed).all()), 'command', 'finite numbers', allowed)
        command = DriverCommand(allowed, gripper_position(values, self._command))
        self.shortened += allowed is not asked
        self.target = allowed
        self._asked = asked if self._command.mode == 'absolute' else allowed
        self._sent_at = now.steady
        return command

    def stop(self, state: RobotState, now: Moment) -> np.ndarray | None:
        """Return the values that stop the robot, or None; the next displacement begins there."""
        values = stop(state, self.target, self._robot, self._is_fresh(state, now))
        self.target = values if self._command.interface_type == 'action' else None
        self._asked = None
        self._sent_at = now.steady
        return values

    def _elapsed_s(self, now: Moment) -> float:
        """Return the time since the last command [s], one control period at most."""
        period_s = self._robot.period_ns / 1e9
        return min(period_s, (now.steady - self._sent_at) / 1e9) if self._sent_at else period_s

    @property
    def _needs_state(self) -> bool:
        return self._command.drives_joints or self._command.needs_pose

    def _is_fresh(self, state: RobotState, now: Moment) -> bool:
        return abs(now.ros - state.stamp) <= self._timeout_ns
