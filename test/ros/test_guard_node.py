"""The last node before the robot, with its clock and its topics."""

from __future__ import annotations

from dataclasses import replace

from efm_core import topics
from efm_core.messages import to_displacement, to_stamp
from efm_core.ros_messages import from_action, from_ns, stamped
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent, Permit
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool
from waiting import scaled

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns]
GOOD = (0.01, -0.02)
STOP = (0.0, 0.0)


class Scene:
    """A guard between a policy, a supervisor, a person and a robot."""

    def __init__(self, stage, make_event, *, embodiment, yaml_of, lockstep):
        self.stage = stage
        self.make_event = make_event
        self.embodiment = embodiment
        self.lockstep = lockstep
        self.node = stage.start(GuardNode, embodiment=yaml_of(embodiment), lockstep=lockstep)
        self.actions = stage.speak(topics.ACTION)
        self.permits = stage.speak(topics.PERMIT)
        self.events = stage.speak(topics.EPISODE_EVENT)
        self.estop = stage.speak(topics.ESTOP)
        self.commands = stage.listen(topics.COMMAND)
        self.diagnostics = stage.listen(topics.DIAGNOSTICS)

    @property
    def now(self):
        return self.node.get_clock().now().nanoseconds

    def want(self, stamp, values=GOOD, **fields):
        known = {'episode_id': 'first', 'embodiment_hash': self.embodiment.hash}
        deadline = from_ns(fields.pop('deadline', 0))
        self.actions.publish(
            from_action(
                np.array([1, 2]),
                np.array(values),
                0.0,
                stamp,
                deadline=deadline,
                **{**known, **fields},
            )
        )

    def permit(self, stamp, permit_duration_s=0.0, episode_id='first'):
        until = from_ns(self.now + int(permit_duration_s * 1e9) if permit_duration_s else 0)
        fields = {'episode_id': episode_id, 'lockstep': self.lockstep, 'valid_until': until}
        self.permits.publish(stamped(Permit(**fields), stamp))

    def allow(self, seconds=30.0):
        """Publish a permit and wait until the guard has it."""
        self.permit(T0, seconds)
        self.stage.spin_until(lambda: self.node._guard._permit.episode_id, 'a permit')

    def heard(self, count):
        """Return the displacement [m] of each command, once there are exactly ``count``."""
        commands = self.stage.hear(self.commands, count)
        return [tuple(round(float(v), 6) for v in to_displacement(c, 10.0)) for c in commands]

    def refusals(self):
        name = self.node.get_fully_qualified_name()
        said = [s for message in self.diagnostics for s in message.status if s.name == name]
        return {value.key for value in said[-1].values} if said else set()

    def wait_for_refusal(self, word):
        self.stage.spin_until(lambda: any(word in key for key in self.refusals()), word)


@pytest.fixture
def lockstep(stage, make_event, embodiment, yaml_of):
    return Scene(stage, make_event, embodiment=embodiment, yaml_of=yaml_of, lockstep=True)


@pytest.fixture
def real_time(stage, make_event, embodiment, yaml_of):
    return Scene(stage, make_event, embodiment=embodiment, yaml_of=yaml_of, lockstep=False)


@pytest.mark.parametrize('action_first', [True, False])
def test_in_lockstep_the_permitted_stamp_passes_and_no_other(lockstep, action_first):
    if action_first:
        lockstep.want(T0)
        lockstep.permit(T0 + PERIOD)
        lockstep.permit(T0)
    else:
        lockstep.permit(T0)
        lockstep.want(T0 - PERIOD, (0.02, 0.02))
        lockstep.want(T0)
    assert lockstep.heard(1) == [GOOD]
    assert to_stamp(lockstep.commands[0]) == T0


def test_a_permit_is_for_one_action(lockstep):
    lockstep.permit(T0)
    lockstep.want(T0)
    lockstep.heard(1)
    lockstep.want(T0, (0.02, 0.02))
    lockstep.want(T0 + PERIOD)
    lockstep.permit(T0 + PERIOD)
    assert lockstep.heard(2) == [GOOD, GOOD]
    assert to_stamp(lockstep.commands[1]) == T0 + PERIOD


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        ({'values': (float('nan'), 0.0)}, 'finite'),
        ({'values': (0.0, 0.026)}, 'expected values in'),
        ({'values': (0.0,)}, 'shape'),
        ({'embodiment_hash': '0123456789abcdef'}, 'embodiment'),
        ({'deadline': T0}, 'stale'),
    ],
    ids=['nan', 'out_of_range', 'too_short', 'another_robot', 'stale'],
)
def test_an_action_that_may_never_pass_is_refused_with_the_reason(lockstep, wrong, reason):
    lockstep.permit(T0)
    lockstep.want(T0, **wrong)
    lockstep.want(T0)
    assert lockstep.heard(1) == [GOOD]
    lockstep.wait_for_refusal(reason)


def test_an_action_of_another_episode_does_not_pass(real_time):
    real_time.allow()
    real_time.want(T0, episode_id='another')
    real_time.want(T0 + PERIOD)
    assert real_time.heard(1) == [GOOD]
    real_time.wait_for_refusal('no permit')


def test_without_a_permit_nothing_passes(real_time):
    real_time.want(T0)
    real_time.wait_for_refusal('no permit')
    assert not real_time.commands


def test_a_command_carries_the_stamp_of_its_observation(real_time):
    real_time.allow()
    real_time.want(T0)
    real_time.heard(1)
    assert to_stamp(real_time.commands[0]) == T0


def test_an_action_after_its_deadline_does_not_pass(real_time):
    real_time.allow()
    real_time.want(T0, (0.02, 0.02), deadline=real_time.now - 1)
    real_time.want(T0 + PERIOD, deadline=real_time.now + 10**10)
    assert real_time.heard(1) == [GOOD]
    real_time.wait_for_refusal('stale')


def test_the_robot_stops_when_no_further_action_comes(real_time):
    real_time.allow()
    real_time.want(T0)
    assert real_time.heard(2) == [GOOD, STOP]


def test_the_robot_stops_when_the_permit_ends(stage, make_event, embodiment, yaml_of):
    patient = replace(embodiment, action_lifetime_s=scaled(60.0))
    scene = Scene(stage, make_event, embodiment=patient, yaml_of=yaml_of, lockstep=False)
    scene.allow(scaled(1.0))
    scene.want(T0)
    assert scene.heard(2) == [GOOD, STOP]
    assert scene.now >= scene.node._guard._permit.valid_until
    scene.want(T0 + PERIOD)
    scene.wait_for_refusal('no permit')
    assert len(scene.commands) == 2


@pytest.mark.parametrize('mode', ['lockstep', 'real_time'])
@pytest.mark.parametrize('way_out', ['deactivate', 'shutdown', 'end', 'estop'])
def test_on_every_way_out_the_last_command_is_stop(request, mode, way_out):
    scene = request.getfixturevalue(mode)
    scene.allow()
    scene.want(T0)
    scene.stage.spin_until(lambda: scene.commands, 'a command')
    before = len(scene.commands)
    if way_out == 'deactivate':
        assert scene.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    elif way_out == 'shutdown':
        assert scene.node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    elif way_out == 'end':
        scene.events.publish(scene.make_event('first', T0, event=EpisodeEvent.END))
    else:
        scene.estop.publish(Bool(data=True))
    scene.stage.spin_until(lambda: len(scene.commands) > before, 'a stop')
    after = len(scene.commands)
    assert scene.heard(after)[-1] == STOP
    scene.want(T0 + PERIOD)
    scene.stage.spin_until(lambda: scene.diagnostics, 'a sign of life')
    assert len(scene.commands) == after


def test_nothing_passes_until_a_person_resets_the_emergency_stop(lockstep):
    lockstep.estop.publish(Bool(data=True))
    assert lockstep.heard(1) == [STOP]
    lockstep.permit(T0)
    lockstep.want(T0)
    lockstep.wait_for_refusal('emergency stop')
    lockstep.estop.publish(Bool(data=False))
    assert lockstep.heard(2) == [STOP, STOP]
    lockstep.permit(T0)
    lockstep.want(T0)
    assert lockstep.heard(3)[-1] == GOOD


def test_a_guard_that_is_not_active_passes_nothing(stage, make_event, embodiment, yaml_of):
    scene = Scene(stage, make_event, embodiment=embodiment, yaml_of=yaml_of, lockstep=True)
    assert scene.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert scene.heard(1) == [STOP]
    scene.want(T0)
    scene.permit(T0)
    del scene.diagnostics[:]
    scene.stage.spin_until(lambda: scene.diagnostics, 'a sign of life')
    assert len(scene.commands) == 1


@pytest.mark.parametrize(('lockstep', 'use_sim_time'), [(True, True), (False, False)])
def test_a_guard_that_needs_no_clock_offers_commands_at_once(
    stage, embodiment, yaml_of, lockstep, use_sim_time
):
    words = {'lockstep': lockstep, 'use_sim_time': use_sim_time}
    stage.start(GuardNode, embodiment=yaml_of(embodiment), **words)
    stage.spin_until(lambda: stage.peer.count_publishers('command'), 'commands')


def test_no_episode_begins_before_the_guard_has_the_simulated_time(stage, embodiment, yaml_of):
    clock = stage.peer.create_publisher(Clock, '/clock', 1)
    node = stage.start(
        GuardNode, embodiment=yaml_of(embodiment), lockstep=False, use_sim_time=True
    )
    node._on_tick()
    node.hold()
    assert not node.count_publishers('command')

    def offered():
        clock.publish(Clock(clock=from_ns(T0)))
        return stage.peer.count_publishers('command')

    stage.spin_until(offered, 'commands')
    assert node.get_clock().now().nanoseconds == T0
