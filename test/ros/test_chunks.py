"""Chunks through the nodes: one decision, and a command each control period."""

from __future__ import annotations

from dataclasses import replace

from efm_core import topics
from efm_core.messages import to_chunk_steps, to_displacement, to_period, to_stamp, to_values
from efm_core.observation import MeasuredState
from efm_core.ros_messages import (
    from_action,
    from_image,
    from_joints,
    from_ns,
    from_period,
    stamped,
)
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent, Permit
from efm_policy import node as policy_node
from efm_policy.node import PolicyNode
from models import FakeTextEncoder, frames
import numpy as np
import pytest
from waiting import scaled

T0 = 500_000_000
PERIOD = 100_000_000
CHUNK = 3
STEPS = np.array([[0.001, 0.0], [0.002, 0.0], [0.003, 0.0]], np.float32)


@pytest.fixture(scope='module')
def robot():
    from models import table_arm

    return table_arm(action=replace(table_arm().action, chunk=CHUNK))


class Scene:
    """A guard, and publishers of every topic that it subscribes."""

    def __init__(self, stage, make_event, *, robot, path, lockstep):
        self.stage = stage
        self.robot = robot
        self.make_event = make_event
        self.lockstep = lockstep
        self.node = stage.start(GuardNode, embodiment=path, lockstep=lockstep)
        self.actions = stage.speak(topics.ACTION)
        self.permits = stage.speak(topics.PERMIT)
        self.events = stage.speak(topics.EPISODE_EVENT)
        self.joints = stage.speak(topics.JOINT_STATES)
        self.diagnostics = stage.listen(topics.DIAGNOSTICS)
        self.commands = stage.listen(topics.COMMAND)

    @property
    def now(self):
        return self.node.get_clock().now().nanoseconds

    def want(self, stamp, values=STEPS, period=PERIOD, deadline=0):
        fields = {'episode_id': 'first', 'embodiment_hash': self.robot.hash}
        times = {'deadline': from_ns(deadline), 'period': from_period(period)}
        self.actions.publish(from_action(np.arange(6), values, 0.0, stamp, **times, **fields))

    def permit(self, stamp, permit_duration_s=0.0):
        until = from_ns(self.now + int(permit_duration_s * 1e9) if permit_duration_s else 0)
        fields = {'episode_id': 'first', 'lockstep': self.lockstep, 'valid_until': until}
        self.permits.publish(stamped(Permit(**fields), stamp))

    def allow(self):
        self.permit(T0, scaled(30.0))
        self.stage.spin_until(lambda: self.node._guard._permit.episode_id, 'a permit')

    def tick(self, number):
        """Let the world in lockstep come to a control step after T0."""
        state = MeasuredState(('a',), np.zeros(1))
        self.joints.publish(from_joints(state, T0 + number * PERIOD))

    def heard(self):
        """Return stamp [periods after T0] and length [mm] of each command."""
        return [
            (
                (to_stamp(command) - T0) / PERIOD,
                round(1000 * float(to_displacement(command, self.robot.control_rate_hz)[0])),
            )
            for command in self.commands
        ]


@pytest.fixture
def scene(stage, make_event, robot, yaml_of):
    def make(lockstep, robot=robot):
        return Scene(stage, make_event, robot=robot, path=yaml_of(robot), lockstep=lockstep)

    return make


@pytest.fixture
def slow(robot):
    """Return the robot with a control period that a busy machine can keep."""
    period_s = scaled(0.4)
    return replace(
        robot, control_rate_hz=1 / period_s, action_lifetime_s=3 * period_s, max_permit_s=600.0
    )


def test_in_lockstep_the_world_gets_a_chunk_step_each_time_it_has_moved_on(scene, stage):
    guard = scene(lockstep=True)
    guard.want(T0)
    guard.permit(T0)
    for number, count in ((0, 1), (1, 2), (2, 3)):
        stage.spin_until(lambda n=count: len(guard.commands) >= n, 'a chunk step')
        assert guard.heard() == [(0, 1), (1, 2), (2, 3)][:count]
        guard.tick(number + 1)
    guard.tick(2)  # long past
    guard.want(T0 + 3 * PERIOD)
    guard.permit(T0 + 3 * PERIOD)
    stage.spin_until(lambda: len(guard.commands) >= 4, 'the next chunk')
    assert guard.heard() == [(0, 1), (1, 2), (2, 3), (3, 1)]


def test_a_chunk_step_is_sent_again_to_a_world_that_shows_the_same_moment_again(scene, stage):
    guard = scene(lockstep=True)
    guard.want(T0)
    guard.permit(T0)
    stage.spin_until(lambda: guard.commands, 'a chunk step')
    guard.tick(1)
    guard.tick(1)
    stage.spin_until(lambda: len(guard.commands) >= 3, 'the step again')
    assert guard.heard() == [(0, 1), (1, 2), (1, 2)]


def test_the_end_of_an_episode_in_mid_chunk_drops_the_rest(scene, stage, make_event):
    guard = scene(lockstep=True)
    guard.want(T0)
    guard.permit(T0)
    stage.spin_until(lambda: guard.commands, 'a chunk step')
    guard.events.publish(make_event('first', T0, event=EpisodeEvent.END))
    stage.spin_until(lambda: len(guard.commands) >= 2, 'a stop')
    guard.tick(1)
    guard.tick(2)
    del guard.diagnostics[:]
    stage.spin_until(lambda: guard.diagnostics, 'a sign of life')
    assert [length for _, length in guard.heard()] == [1, 0]


def test_in_real_time_chunk_steps_follow_the_clock_and_then_the_robot_stops(scene, stage, slow):
    guard = scene(lockstep=False, robot=slow)
    guard.allow()
    begun = guard.now
    guard.want(begun, period=slow.period_ns, deadline=begun + 3 * slow.period_ns)
    times = []

    def look():
        times.extend([guard.now] * (len(guard.commands) - len(times)))
        return len(guard.commands) >= 2 and guard.heard()[-1][1] == 0

    stage.spin_until(look, 'a stop')
    lengths = [length for _, length in guard.heard()]
    assert lengths[-1] == 0
    assert lengths[:-1] == sorted(set(lengths[:-1]))  # on a busy machine steps may be skipped
    assert set(lengths) <= {0, 1, 2, 3}
    for at, length in zip(times, lengths, strict=True):
        assert length == 0 or at - begun >= (length - 1) * slow.period_ns


def test_a_chunk_that_is_late_joins_and_skipped_steps_are_reported(scene, stage, slow):
    guard = scene(lockstep=False, robot=slow)
    guard.allow()
    period = slow.period_ns
    begun = guard.now - 2 * period - period // 8
    guard.want(begun, period=period, deadline=begun + 3 * period)
    stage.spin_until(lambda: guard.commands, 'a step or a stop')
    assert guard.heard()[0][1] == 3
    stage.spin_until(lambda: 'skipped' in str(guard.diagnostics), 'a report')


@pytest.mark.parametrize(
    ('values', 'period', 'reason'),
    [
        (STEPS[:2], PERIOD, 'expected shape'),
        (STEPS * 100, PERIOD, 'expected values in'),
        (STEPS, PERIOD // 2, 'period'),
    ],
)
def test_a_bad_chunk_is_refused_with_the_reason(scene, stage, values, period, reason):
    guard = scene(lockstep=True)
    guard.permit(T0)
    guard.want(T0, values, period)
    stage.spin_until(lambda: reason in str(guard.diagnostics), reason)
    assert not guard.commands


def test_chunk_steps_of_different_lengths_are_refused(scene, stage):
    guard = scene(lockstep=True)
    message = from_action(np.arange(6), STEPS, 0.0, T0, episode_id='first')
    message.chunk_steps = 4
    guard.actions.publish(message)
    stage.spin_until(
        lambda: 'expected 4 equal chunk steps, got 6' in str(guard.diagnostics), 'a reason'
    )


def test_the_policy_decides_once_a_chunk(stage, make_event, robot, yaml_of, shelf, monkeypatch):
    monkeypatch.setattr(policy_node, 'TextEncoder', lambda path: FakeTextEncoder())
    release = shelf(1, robot).uri
    path = yaml_of(robot)
    words = {'release': release, 'lockstep': True, 'text_encoder': 'none'}
    stage.start(PolicyNode, embodiment=path, **words)
    camera = stage.speak(topics.IMAGE)
    events = stage.speak(topics.EPISODE_EVENT)
    actions = stage.listen(topics.ACTION)
    seen = stage.listen(topics.OBSERVATION)
    events.publish(make_event('first', T0, embodiment_hash=robot.hash))
    for step, picture in enumerate(frames(7)):
        camera.publish(from_image(picture, T0 + step * PERIOD))
        stage.spin_until(lambda: actions, 'the first chunk')  # so the episode has begun
    stage.spin_until(lambda: len(actions) >= 3 and len(seen) >= 3, 'three chunks')
    assert [(to_stamp(a) - T0) // PERIOD for a in actions] == [0, 3, 6]
    assert [(to_stamp(o) - T0) // PERIOD for o in seen] == [0, 3, 6]
    for step, action in enumerate(actions):
        assert (action.step, to_chunk_steps(action), to_period(action)) == (step, CHUNK, PERIOD)
        assert to_values(action).shape == (CHUNK, 2)
        assert len(action.tokens) == 6
