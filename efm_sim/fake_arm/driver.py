"""A driver with the manners of a real arm's, for tests and for trying an embodiment out."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, KW_ONLY

from efm_core.command import Command
from efm_core.poses import difference
from efm_sim.fake_arm.chain import Chain
from efm_sim.fake_arm.config import FakeDriverConfig
import numpy as np


@dataclass(frozen=True)
class Received:
    """
    One command, as the driver has read it.

    :param numbers: as in `Command.numbers`.
    :param stamp: of its header [ns]; zero for none.
    :param duration_s: what a trajectory takes to its point; zero for as fast as allowed.
    """

    numbers: np.ndarray
    stamp: int = 0
    _: KW_ONLY
    duration_s: float = 0.0


class FakeArm:
    """
    An arm that follows commands late, within its own limits, and stops when they cease.

    :ivar joints: where it is, ``(J,)`` [rad].
    :ivar speeds: how fast, ``(J,)`` [rad/s].
    :ivar counts: what happened to the commands.
    """

    def __init__(self, config: FakeDriverConfig, command: Command):
        self._config = config
        self._kind = command.interface_type
        self._count = len(command.joints) or 6
        self.chain = Chain(self._count)
        self.joints = self._start(command)
        self.speeds = np.zeros(self._count)
        self.counts: Counter[str] = Counter()
        self._coming: deque[tuple[int, Received]] = deque()
        self._goal: Received | None = None
        self._goal_at = self._time = 0
        self._fastest = np.full(self._count, config.velocity_limit)
        self._random = np.random.default_rng(config.seed)

    @property
    def pose(self) -> np.ndarray:
        """The tool's pose in the base, ``(7,)``."""
        return self.chain.forward(self.joints)

    def _start(self, command: Command) -> np.ndarray:
        """Return where the arm begins: bent, and inside the embodiment's limits."""
        limits = command.limits
        home = self.chain.home.copy()
        if limits.position_min:
            home = np.clip(home, np.add(limits.position_min, 0.1), limits.position_max)
            home = np.minimum(home, np.subtract(limits.position_max, 0.1))
        return home

    def take(self, received: Received, now: int) -> str:
        """Take a command off the wire at ``now`` [ns]; return why it is refused, or ''."""
        if self._random.random() < self._config.drop_rate:
            self.counts['lost'] += 1
            return ''
        reason = self._objection(received, now)
        self.counts['refused' if reason else 'taken'] += 1
        if not reason:
            self._coming.append((now + round(self._config.latency_s * 1e9), received))
        return reason

    def step(self, now: int) -> None:
        """Move on to the time ``now`` [ns]."""
        period_s = (now - self._time) / 1e9 if self._time else 0.0
        self._time = now
        while self._coming and self._coming[0][0] <= now:
            self._goal_at, self._goal = self._coming.popleft()
            self._fastest = self._speeds_for(self._goal)
        if self._goal and now - self._goal_at > self._config.watchdog_s * 1e9:
            self._goal = None
            self.counts['watchdog'] += 1
        wanted = self._wanted(period_s) if self._goal and period_s else np.zeros(self._count)
        limit = self._config.position_limit
        moved = np.clip(self.joints + wanted * period_s, -limit, limit)
        self.speeds = (moved - self.joints) / period_s if period_s else np.zeros(self._count)
        self.joints = moved

    def _objection(self, received: Received, now: int) -> str:
        numbers = received.numbers
        config = self._config
        size = {'twist': 6, 'pose': 7}.get(self._kind, self._count)
        if numbers.shape != (size,):
            return f'command: expected {size} numbers, got {numbers.size}'
        if not np.isfinite(numbers).all():
            return f'command: expected finite numbers, got {numbers}'
        if received.stamp and now - received.stamp > config.max_age_s * 1e9:
            return f'stale command: expected {config.max_age_s} s at most'
        if self._kind == 'positions' and np.abs(numbers).max() > config.position_limit:
            return f'joint limit: expected {config.position_limit} rad at most, got {numbers}'
        if self._kind == 'velocities' and np.abs(numbers).max() > config.velocity_limit:
            return f'speed: expected {config.velocity_limit} rad/s at most, got {numbers}'
        return ''

    def _speeds_for(self, goal: Received) -> np.ndarray:
        """Return how fast each joint may go on the way to a goal."""
        allowed = np.full(self._count, self._config.velocity_limit)
        if goal.duration_s:
            allowed = np.minimum(allowed, np.abs(goal.numbers - self.joints) / goal.duration_s)
        return allowed

    def _wanted(self, period_s: float) -> np.ndarray:
        """Return the joint speeds towards the goal, ``(J,)`` [rad/s]."""
        numbers = self._goal.numbers
        if self._kind == 'positions':
            wanted = (numbers - self.joints) / period_s
        elif self._kind == 'velocities':
            wanted = numbers
        elif self._kind == 'twist':
            wanted = self.chain.speeds(self.joints, numbers)
        else:
            way = difference(numbers, self.pose) / max(period_s, 0.05)
            wanted = self.chain.speeds(self.joints, way)
        return np.clip(wanted, -self._fastest, self._fastest)
