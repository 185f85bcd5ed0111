"""
Whatever comes in whatever order: no command without a right to move, none too fast, and a stop.

Seeded random sequences of actions, permits, stops, ends and clock jumps go through the guard and
the commander, as the node connects them. A model of the rules, written down a second time and
without the code under test, judges each command.
"""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
import random

from arms import KINDS, make_arm
from efm_guard.commander import Commander
from efm_guard.guard import ActionRequest, Guard, Moment, MotionPermit
from efm_guard.setpoints import RobotState
import numpy as np
import pytest

MS = 1_000_000  # [ns]
TICK = 50 * MS
POSITIONS = KINDS[1]
VELOCITIES = KINDS[2]
EPISODES = ('e1', 'e2', 'e3')


@dataclass
class Rights:
    """The right to move, by the rules of docs/safety.md."""

    longest: int
    _: KW_ONLY
    emergency: bool = False
    owner: str = ''
    until: int = 0  # steady
    over: set[str] = field(default_factory=set)

    def grant(self, episode, rest, now):
        taken = self.owner not in ('', episode) and now.steady < self.until
        if not (self.emergency or taken or episode in self.over or rest <= 0):
            self.owner = episode
            self.until = now.steady + min(rest, self.longest)

    def take(self, episode):
        self.over.add(episode)
        self.owner = ''

    def allows(self, episode, now):
        return not self.emergency and episode == self.owner and now.steady < self.until


class Rig:
    """A guard and a commander with two clocks, as the node connects them."""

    def __init__(self, seed, kind, *, chunk):
        self.random = random.Random(seed)  # draws one number ten times as fast as numpy
        self.noise = np.random.default_rng(seed)
        robot = make_arm(kind, mode=self.random.choice(['delta', 'absolute']))
        limits = replace(robot.command.limits, max_following_error=0.0)
        self.robot = replace(
            robot,
            action=replace(robot.action, chunk=chunk),
            command=replace(robot.command, limits=limits),
        )
        self.guard = Guard(self.robot, lockstep=False)
        self.commander = Commander(self.robot)
        self.rights = Rights(int(self.robot.max_permit_s * 1e9))
        self.now = Moment(10**12, 10**9)
        self.place = np.zeros(6)
        self.sent = []  # (moment, values, is a stop)
        self.stop_by = None
        self.next_tick = self.now.steady

    def run(self, events):
        choices = ('picture', 'permit', 'emergency', 'release', 'end', 'start', 'jump', 'strange')
        weights = (0.5, 0.35, 0.01, 0.03, 0.01, 0.03, 0.01, 0.06)
        for _ in range(events):
            self.pass_time(self.random.choice([1, 7, 16, 33, 100]) * MS)
            (name,) = self.random.choices(choices, weights)
            getattr(self, name)()
            self.finish()

    def pass_time(self, duration):
        """Let both clocks run; the node ticks in time."""
        end = self.now.steady + duration
        while self.next_tick <= end:
            self.advance(self.next_tick)
            self.deliver(self.guard.on_time(self.now))
            self.finish()
            self.next_tick += TICK
        self.advance(end)

    def advance(self, steady):
        self.now = Moment(self.now.ros + steady - self.now.steady, steady)

    def finish(self):
        """Do what follows each callback, and check that no stop is overdue."""
        if self.guard.must_stop(self.now):
            self.stop()
        assert self.stop_by is None or self.now.steady <= self.stop_by, 'no stop in time'

    def deliver(self, request):
        if request is None:
            return
        assert self.rights.allows(request.episode_id, self.now), 'a command without a right'
        age = self.now.ros - request.stamp
        assert -self.robot.period_ns <= age <= self.robot.action_lifetime_s * 1e9
        state = RobotState(self.place, stamp=self.now.ros)
        try:
            command = self.commander.driver_command(request.values, state, self.now)
        except ValueError as error:
            self.guard.refuse(str(error))
            self.guard.cut()
            self.stop()
            return
        self.guard.on_sent()
        self.record(command.values, False)
        self.stop_by = self.now.steady + int(self.robot.action_lifetime_s * 1e9) + TICK

    def stop(self):
        state = RobotState(self.place, stamp=self.now.ros)
        self.record(self.commander.stop(state, self.now), True)
        self.stop_by = None

    def record(self, values, is_stop):
        self.sent.append((self.now, values, is_stop))
        if self.robot.command.interface_type == 'positions':
            self.place = np.array(values)

    def act(self, stamp, episode='', deadline=0):
        chunk = self.robot.action.chunk
        shape = (chunk, 2) if chunk > 1 else (2,)
        self.deliver(
            self.guard.on_action(
                ActionRequest(
                    episode or self.random.choice(EPISODES),
                    stamp,
                    deadline=deadline,
                    embodiment_hash=self.robot.hash,
                    values=self.noise.uniform(-0.1, 0.1, shape).astype(np.float32),
                    period=self.robot.period_ns if chunk > 1 else 0,
                ),
                self.now,
            )
        )

    def picture(self):
        """Answer an image as a policy does, fast or slowly."""
        self.act(self.now.ros - int(self.random.uniform(0, 80) * MS), self.rights.owner)

    def strange(self):
        """Act as a faulty source: old, from the future, without an end, of any episode."""
        offset = self.random.choice([-10_000, -600, -300, 0, 90, 150, 10_000]) * MS
        self.act(self.now.ros + offset, deadline=self.random.choice([0, 2**62]))

    def permit(self):
        rest = self.random.choice([-100, 0, 50, 500, 500, 10**9]) * MS
        episode = self.random.choice([self.rights.owner or 'e1', *EPISODES[:2]])
        self.rights.grant(episode, rest, self.now)
        permit = MotionPermit(episode, valid_until=self.now.ros + rest)
        assert self.guard.on_permit(permit, self.now) is None

    def emergency(self):
        self.rights.take(self.rights.owner)
        self.rights.emergency = True
        self.guard.on_emergency()
        self.stop()

    def release(self):
        self.rights.emergency = False
        self.guard.release_emergency()

    def end(self):
        episode = self.random.choice(EPISODES)
        self.rights.take(episode)
        self.guard.end(episode)
        self.stop()

    def start(self):
        episode = self.random.choice(EPISODES)
        self.rights.over.discard(episode)
        self.guard.begin(episode)

    def jump(self):
        by = self.random.choice([-600_000, -2000, -60, 2000, 600_000]) * MS
        self.now = Moment(self.now.ros + by, self.now.steady)
        if by < 0:
            self.rights.take(self.rights.owner)
            self.stop_by = self.now.steady + TICK if self.stop_by else None


@pytest.mark.parametrize('chunk', [1, 3])
@pytest.mark.parametrize('kind', [POSITIONS, VELOCITIES])
@pytest.mark.parametrize('seed', range(12))
def test_no_command_without_a_right_none_too_fast_and_always_a_stop(seed, kind, chunk):
    rig = Rig(seed, kind, chunk=chunk)
    rig.run(1500)
    moves = [values for _, values, is_stop in rig.sent if not is_stop]
    assert len(moves) > 50
    if kind == VELOCITIES:
        assert np.abs(moves).max() <= 1.0 + 1e-6
        return
    for (earlier, before, _), (later, values, _) in zip(rig.sent, rig.sent[1:], strict=False):
        seconds = (later.steady - earlier.steady) / 1e9
        assert np.abs(values - before).max() <= 1.0 * seconds * (1 + 2e-4) + 1e-12


def test_the_model_finds_a_guard_that_forgets_the_end_of_an_episode(monkeypatch):
    monkeypatch.setattr(Guard, 'end', lambda guard, episode: None)
    with pytest.raises(AssertionError, match='a command without a right'):
        Rig(1, POSITIONS, chunk=1).run(1500)


def test_the_model_finds_a_guard_without_a_watchdog(monkeypatch):
    monkeypatch.setattr(Guard, 'must_stop', lambda guard, now: False)
    with pytest.raises(AssertionError, match='no stop in time'):
        Rig(0, POSITIONS, chunk=1).run(1500)
