"""The last node before the robot, with its clock and its topics."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

from efm_core import ros_topics, topics
from efm_core.messages import to_displacement, to_stamp
from efm_core.ros_messages import from_action, from_ns, stamped
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent, Permit
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from waiting import scaled

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns]
GOOD = (0.01, -0.02)
STOP = (0.0, 0.0)


class Scene:
    """A guard between a policy, a supervisor, a person and a robot."""

    def __init__(self, stage, make_event, *, embodiment, yaml_of, lockstep, node=None):
        self.stage = stage
        self.make_event = make_event
        self.embodiment = embodiment
        self.lockstep = lockstep
        path = yaml_of(embodiment)
        self.node = node or stage.start(GuardNode, embodiment=path, lockstep=lockstep)
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
def real_time(stage, make_event, patient, yaml_of):
    return Scene(stage, make_event, embodiment=patient, yaml_of=yaml_of, lockstep=False)


@pytest.fixture
def patient(embodiment):
    """Return a robot whose actions and permits outlast the delays of a busy machine."""
    return replace(embodiment, action_lifetime_s=scaled(0.5), max_permit_s=600.0)


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
    real_time.want(real_time.now, episode_id='another')
    real_time.want(real_time.now)
    assert real_time.heard(1) == [GOOD]
    real_time.wait_for_refusal('no permit')


def test_without_a_permit_nothing_passes(real_time):
    real_time.want(real_time.now)
    real_time.wait_for_refusal('no permit')
    assert not real_time.commands


def test_a_command_carries_the_stamp_of_its_observation(real_time):
    real_time.allow()
    stamp = real_time.now
    real_time.want(stamp)
    real_time.stage.spin_until(lambda: real_time.commands, 'a command')
    assert to_stamp(real_time.commands[0]) == stamp


def test_an_action_after_its_deadline_does_not_pass(real_time):
    real_time.allow()
    real_time.want(real_time.now, (0.02, 0.02), deadline=real_time.now - 1)
    real_time.want(real_time.now, deadline=real_time.now + 10**10)
    assert real_time.heard(1) == [GOOD]
    real_time.wait_for_refusal('stale')


def test_the_robot_stops_when_no_further_action_comes(real_time):
    real_time.allow()
    real_time.want(real_time.now)
    assert real_time.heard(2) == [GOOD, STOP]


def test_the_robot_stops_when_the_permit_ends(stage, make_event, embodiment, yaml_of):
    patient = replace(embodiment, action_lifetime_s=scaled(60.0), max_permit_s=600.0)
    scene = Scene(stage, make_event, embodiment=patient, yaml_of=yaml_of, lockstep=False)
    scene.allow(scaled(1.0))
    scene.want(scene.now)
    assert scene.heard(2) == [GOOD, STOP]
    assert scene.now >= scene.node._guard._permit.valid_until
    scene.want(scene.now)
    scene.wait_for_refusal('no permit')
    assert len(scene.commands) == 2


@pytest.mark.parametrize('mode', ['lockstep', 'real_time'])
@pytest.mark.parametrize('way_out', ['deactivate', 'shutdown', 'end', 'estop'])
def test_on_every_way_out_the_last_command_is_stop(request, mode, way_out):
    scene = request.getfixturevalue(mode)
    scene.allow()
    scene.want(T0 if mode == 'lockstep' else scene.now)
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
    resets = lockstep.stage.listen(topics.ESTOP_RESET)
    lockstep.estop.publish(Bool(data=True))
    lockstep.stage.spin_until(lambda: lockstep.node._guard.emergency, 'the stop')
    lockstep.permit(T0)
    lockstep.want(T0)
    lockstep.wait_for_refusal('emergency stop')
    lockstep.estop.publish(Bool(data=False))
    lockstep.stage.spin_until(
        lambda: not lockstep.node._estop.is_pressed, 'the release of the switch'
    )
    assert lockstep.node._guard.emergency
    assert lockstep.stage.call(Trigger, topics.RESET_ESTOP).success
    lockstep.stage.hear(resets)
    lockstep.permit(T0)
    lockstep.want(T0)
    lockstep.stage.spin_until(lambda: to_stamp(lockstep.commands[-1]) == T0, 'a command')
    moves = [c for c in lockstep.commands if to_displacement(c, 10.0).any()]
    assert len(moves) == 1


ORDINARY = QoSProfile(depth=10)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.mark.parametrize('profile', [10, ORDINARY, BEST_EFFORT, ros_topics.PROFILES['latched']])
def test_a_switch_stops_the_robot_whatever_its_quality_of_service(real_time, profile):
    switch = real_time.stage.peer.create_publisher(Bool, topics.ESTOP.name, profile)
    real_time.stage.spin_until(switch.get_subscription_count, 'the guard')
    real_time.allow()
    real_time.want(real_time.now)
    real_time.stage.spin_until(lambda: real_time.commands, 'a command')
    switch.publish(Bool(data=True))
    real_time.stage.spin_until(lambda: real_time.node._guard.emergency, 'the stop')
    real_time.want(real_time.now)
    real_time.wait_for_refusal('emergency stop')
    assert to_displacement(real_time.commands[-1], 10.0).tolist() == [0, 0]


def test_a_latched_switch_that_was_pressed_before_the_guard_began_stops_it(
    stage, embodiment, yaml_of
):
    switch = ros_topics.publisher(stage.peer, topics.ESTOP)
    switch.publish(Bool(data=True))
    node = stage.start(GuardNode, embodiment=yaml_of(embodiment), lockstep=False)
    stage.spin_until(lambda: node._guard.emergency, 'the stop')


def test_false_from_another_switch_releases_nothing(real_time):
    other = real_time.stage.speak(topics.ESTOP)
    real_time.estop.publish(Bool(data=True))
    real_time.stage.spin_until(lambda: real_time.node._guard.emergency, 'the stop')
    other.publish(Bool(data=False))
    real_time.stage.spin_until(lambda: not real_time.node._estop.is_pressed, 'the other switch')
    real_time.permit(T0, 30.0)
    real_time.want(real_time.now)
    real_time.wait_for_refusal('emergency stop')
    assert not any(to_displacement(command, 10.0).any() for command in real_time.commands)


def test_a_switch_that_is_pressed_cannot_be_reset(real_time):
    real_time.estop.publish(Bool(data=True))
    real_time.stage.spin_until(lambda: real_time.node._guard.emergency, 'the stop')
    answer = real_time.stage.call(Trigger, topics.RESET_ESTOP)
    assert (answer.success, 'release the switch' in answer.message) == (False, True)
    assert real_time.node._guard.emergency


def test_images_a_second_late_become_a_fault_of_the_guard_at_once(real_time):
    real_time.allow()
    late = int(1e9 * (real_time.embodiment.action_lifetime_s + 1))
    for _ in range(5):
        real_time.want(real_time.now - late)
    name = real_time.node.get_fully_qualified_name()

    def fault():
        statuses = (s for message in real_time.diagnostics for s in message.status)
        return [s.message for s in statuses if s.name == name and s.level == s.ERROR]

    real_time.stage.spin_until(fault, 'a fault')
    for words in ('5 actions in a row refused', 'stale', "by the guard's clock", 'chrony'):
        assert words in fault()[0]
    real_time.want(real_time.now)
    assert real_time.heard(1) == [GOOD]
    assert real_time.node._diagnostics.fault == ''


def test_when_simulated_time_runs_back_the_robot_stops_at_once(
    stage, make_event, embodiment, yaml_of
):
    clock = stage.peer.create_publisher(Clock, '/clock', 1)
    robot = replace(embodiment, action_lifetime_s=600.0, max_permit_s=600.0)
    node = stage.start(GuardNode, embodiment=yaml_of(robot), lockstep=False, use_sim_time=True)

    def show(seconds):
        time = from_ns(int(seconds * 1e9))
        stage.spin_until(
            lambda: (
                clock.publish(Clock(clock=time))
                or node.get_clock().now().nanoseconds == seconds * 1e9
            ),
            f'{seconds} s',
        )

    show(100)
    stage.spin_until(lambda: node._robot.driver, 'commands')
    scene = Scene(stage, make_event, embodiment=robot, yaml_of=yaml_of, lockstep=False, node=node)
    scene.allow(500.0)
    scene.want(scene.now)
    assert scene.heard(1) == [GOOD]
    show(98)
    assert scene.heard(2) == [GOOD, STOP]
    scene.permit(T0, 500.0)
    scene.want(scene.now)
    scene.wait_for_refusal('no permit')
    assert 'clock: expected time to run forward, got a jump back of 2.000 s' in (
        node._diagnostics.fault
    )


def test_the_way_out_waits_until_the_driver_has_acknowledged_the_stop(real_time, monkeypatch):
    real_time.allow()
    real_time.want(real_time.now)
    real_time.stage.spin_until(lambda: real_time.commands, 'a command')
    driver = real_time.node._robot.driver
    calls = Mock(wraps=driver._publisher)
    monkeypatch.setattr(driver, '_publisher', calls)
    assert real_time.node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    assert [name for name, _, _ in calls.method_calls] == ['publish', 'wait_for_all_acked']
    assert calls.wait_for_all_acked.call_args.args[0].nanoseconds == 10**9


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


def test_a_second_supervisor_is_named_and_gets_no_robot(real_time):
    real_time.allow()
    real_time.permit(T0, 30.0, episode_id='second')
    real_time.wait_for_refusal('permit refused: second owner: expected a permit for first')
    real_time.want(real_time.now, episode_id='second')
    real_time.wait_for_refusal('no permit')
    assert not real_time.commands
