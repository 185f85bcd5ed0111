"""A simulated arm with the behaviour of a real driver, for tests and for new embodiments."""

from __future__ import annotations

from collections import Counter, deque

from efm_core.command import Command
from efm_core.poses import difference
from efm_sim.fake_arm.chain import Chain
from efm_sim.fake_arm.command import ReceivedCommand
from efm_sim.fake_arm.config import FakeDriverConfig
import numpy as np

POSE_APPROACH_S = 0.05  # shortest time in which the tool moves to a commanded pose


class FakeArm:
    """
    Executes commands with a delay, within its own limits, and stops when they cease.

    :ivar chain: kinematics.
    :ivar joints: joint positions, ``(J,)`` [rad].
    :ivar velocities: joint velocities, ``(J,)`` [rad/s].
    :ivar counts: number of commands that were accepted, refused or lost, and of watchdog stops.
    """

    def __init__(self, config: FakeDriverConfig, command: Command):
        """Place the arm at its start; ``command``: command block of the embodiment."""
        self._config = config
        self._kind = command.interface_type
        self._count = len(command.joints) or 6
        self.chain = Chain(self._count)
        self.joints = self._start(command)
        self.velocities = np.zeros(self._count)
        self.counts: Counter[str] = Counter()
        self._delayed: deque[tuple[int, ReceivedCommand]] = deque()
        self._goal: ReceivedCommand | None = None
        self._goal_time = 0
        self._time = 0
        self._max_velocities = np.full(self._count, config.velocity_limit)
        self._random = np.random.default_rng(config.seed)

    @property
    def pose(self) -> np.ndarray:
        """The tool's pose in the base, ``(7,)``: position [m] and quaternion."""
        return self.chain.forward(self.joints)

    def _start(self, command: Command) -> np.ndarray:
        """Return the start positions: bent, inside the embodiment's limits."""
        limits = command.limits
        home = self.chain.home.copy()
        if limits.position_min:
            home = np.clip(home, np.add(limits.position_min, 0.1), limits.position_max)
            home = np.minimum(home, np.subtract(limits.position_max, 0.1))
        return home

    def receive(self, received: ReceivedCommand, now: int) -> str:
        """Accept a command at the time ``now`` [ns], or return the reason why it is refused."""
        if self._random.random() < self._config.drop_rate:
            self.counts['lost'] += 1
            return ''
        reason = self._refusal(received, now)
        self.counts['refused' if reason else 'accepted'] += 1
        if not reason:
            self._delayed.append((now + round(self._config.latency_s * 1e9), received))
        return reason

    def step(self, now: int) -> None:
        """Advance to the time ``now`` [ns]."""
        period_s = (now - self._time) / 1e9 if self._time else 0.0
        self._time = now
        while self._delayed and self._delayed[0][0] <= now:
            self._goal_time, self._goal = self._delayed.popleft()
            self._max_velocities = self._velocity_limits(self._goal)
        if self._goal and now - self._goal_time > self._config.watchdog_s * 1e9:
            self._goal = None
            self.counts['watchdog'] += 1
        velocities = np.zeros(self._count)
        if self._goal and period_s:
            velocities = self._goal_velocities(self._goal.values, period_s)
        limit = self._config.position_limit
        moved = np.clip(self.joints + velocities * period_s, -limit, limit)
        self.velocities = (moved - self.joints) / period_s if period_s else np.zeros(self._count)
        self.joints = moved

    def _refusal(self, received: ReceivedCommand, now: int) -> str:
        """Return the reason why a command is refused; empty if it is accepted."""
        values = received.values
        config = self._config
        size = {'twist': 6, 'pose': 7}.get(self._kind, self._count)
        if values.shape != (size,):
            return f'command: expected {size} numbers, got {values.size}'
        if not np.isfinite(values).all():
            return f'command: expected finite numbers, got {values}'
        if received.stamp and now - received.stamp > config.max_age_s * 1e9:
            return f'stale command: expected {config.max_age_s} s at most'
        if self._kind == 'positions' and np.abs(values).max() > config.position_limit:
            return f'joint limit: expected {config.position_limit} rad at most, got {values}'
        if self._kind == 'velocities' and np.abs(values).max() > config.velocity_limit:
            return f'speed: expected {config.velocity_limit} rad/s at most, got {values}'
        return ''

    def _velocity_limits(self, goal: ReceivedCommand) -> np.ndarray:
        """Return the largest speeds of the joints on the way to a goal, ``(J,)`` [rad/s]."""
        allowed = np.full(self._count, self._config.velocity_limit)
        if goal.duration_s:
            allowed = np.minimum(allowed, np.abs(goal.values - self.joints) / goal.duration_s)
        return allowed

    def _goal_velocities(self, values: np.ndarray, period_s: float) -> np.ndarray:
        """Return the joint velocities towards a goal, within the limits, ``(J,)`` [rad/s]."""
        if self._kind == 'positions':
            velocities = (values - self.joints) / period_s
        elif self._kind == 'velocities':
            velocities = values
        elif self._kind == 'twist':
            velocities = self.chain.joint_velocities(self.joints, values)
        else:
            twist = difference(values, self.pose) / max(period_s, POSE_APPROACH_S)
            velocities = self.chain.joint_velocities(self.joints, twist)
        return np.clip(velocities, -self._max_velocities, self._max_velocities)
