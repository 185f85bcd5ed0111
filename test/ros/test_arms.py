"""Guard, driver and arm together, over DDS: every kind of driver, every way to end."""

from __future__ import annotations

from dataclasses import replace

from arms import GRIPPER, KINDS, make_arm
from efm_core import topics
from efm_core.messages import to_stamp
from efm_core.ros_messages import from_action, from_ns, from_transform, stamped
from efm_core.ros_tool_pose import listen_to_tf
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent, Permit
from efm_sim.fake_arm.command import read_command
from efm_sim.fake_arm.node import FakeDriverNode
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage
from waiting import scaled

TRAJECTORY, POSITIONS, VELOCITIES, SERVO, POSE = KINDS
MOVE = (0.02, 0.02)


class Scene:
    """A guard and a driver, and a peer in the place of policy, supervisor and person."""

    def __init__(self, stage, robot, *, yaml_of, **driver):
        # All nodes share this thread: on a busy machine messages are delayed.
        command = replace(robot.command, state_timeout_s=scaled(1.0))
        lifetime_s = max(robot.action_lifetime_s, scaled(0.5))
        robot = replace(robot, command=command, action_lifetime_s=lifetime_s, max_permit_s=600.0)
        driver = {'max_age_s': scaled(2.0, 10.0), **driver}
        self.stage = stage
        self.robot = robot
        path = yaml_of(robot)
        self.driver = stage.start(FakeDriverNode, embodiment=path, **driver)
        self.guard = stage.start(GuardNode, embodiment=path, lockstep=False)
        self.actions = stage.speak(topics.ACTION)
        self.permits = stage.speak(topics.PERMIT)
        self.events = stage.speak(topics.EPISODE_EVENT)
        self.estop = stage.speak(topics.ESTOP)
        self.commands = stage.listen(topics.command_topic(robot.command))
        self.executed = stage.listen(topics.EXECUTED)
        self.diagnostics = stage.listen(topics.DIAGNOSTICS)
        self.begin = self.arm.joints.copy(), self.arm.pose
        stage.spin_until(lambda: self.guard._robot.listener.state.stamp, 'the state of the arm')
        self.allow()

    @property
    def arm(self):
        return self.driver.arm

    @property
    def now(self):
        return self.guard.get_clock().now().nanoseconds

    def allow(self):
        permit = Permit(episode_id='first', valid_until=from_ns(self.now + 600 * 10**9))
        self.permits.publish(stamped(permit, 1))
        self.stage.spin_until(lambda: self.guard._guard._permit.episode_id, 'a permit')

    def want(self, values=MOVE):
        stamp = self.now
        about = {'episode_id': 'first', 'embodiment_hash': self.robot.hash}
        self.actions.publish(from_action((1,), np.array(values), 0.0, stamp, **about))
        return stamp

    def act(self, values=MOVE):
        """Publish an action and wait until the driver has accepted its command."""
        accepted = self.arm.counts['accepted']
        stamp = self.want(values)
        self.stage.spin_until(lambda: self.arm.counts['accepted'] > accepted, 'a command')
        return stamp

    @property
    def moved(self):
        """Motion of the driven joint, or of the tool along x, since the beginning."""
        on_joints = self.robot.command.drives_joints
        return (self.arm.joints - self.begin[0] if on_joints else self.arm.pose - self.begin[1])[0]

    def sent(self):
        """Return the values of every command so far."""
        return [read_command(message, self.robot.command).values for message in self.commands]

    def is_stop(self, numbers):
        """Return whether a command leaves the arm where it is, to 0.03."""
        kind = self.robot.command.interface_type
        here = {'positions': self.arm.joints, 'pose': self.arm.pose}.get(kind, np.zeros(6))
        return np.abs(numbers - here).max() < 0.03

    def let_the_state_expire(self):
        """Wait until the last state that the guard has received is too old to act on."""
        limit_ns = 1.05e9 * self.robot.command.state_timeout_s
        self.stage.spin_until(
            lambda: self.now - self.guard._robot.listener.state.stamp > limit_ns,
            'the state to grow old',
        )

    def wait_for_rest(self):
        self.stage.spin_until(
            lambda: not self.arm._delayed and np.abs(self.arm.velocities).max() < 1e-3, 'rest'
        )

    def wait_for_refusal(self, node, word):
        name = node.get_fully_qualified_name()

        def said():
            return any(
                word in value.key
                for message in self.diagnostics
                for status in message.status
                if status.name == name
                for value in status.values
            )

        self.stage.spin_until(said, word)


@pytest.fixture(params=KINDS)
def scene(request, stage, yaml_of):
    return Scene(stage, make_arm(request.param), yaml_of=yaml_of)


def test_an_action_moves_the_arm_and_when_none_follows_it_stops(scene):
    stamp = scene.act()
    scene.stage.spin_until(lambda: scene.moved > 0.01, 'motion')
    scene.stage.spin_until(lambda: len(scene.commands) > 1, 'a stop')
    assert scene.is_stop(scene.sent()[-1])
    scene.wait_for_rest()
    assert [to_stamp(message) for message in scene.executed] == [stamp]
    assert list(scene.executed[0].values) == pytest.approx(MOVE)


@pytest.mark.parametrize('way_out', ['deactivate', 'shutdown', 'end', 'estop'])
def test_on_every_way_out_the_last_command_is_stop(scene, way_out):
    scene.act((0.03, 0.0))
    scene.stage.spin_until(lambda: scene.moved > 0.001, 'motion')
    before = len(scene.commands)
    if way_out == 'deactivate':
        assert scene.guard.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    elif way_out == 'shutdown':
        assert scene.guard.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    elif way_out == 'end':
        event = EpisodeEvent(episode_id='first', event=EpisodeEvent.END)
        scene.events.publish(stamped(event, 1))
    else:
        scene.estop.publish(Bool(data=True))
    scene.stage.spin_until(lambda: len(scene.commands) > before, 'a stop')
    scene.wait_for_rest()
    assert scene.is_stop(scene.sent()[-1])
    after = len(scene.commands)
    scene.want()
    del scene.diagnostics[:]
    scene.stage.spin_until(lambda: scene.diagnostics, 'a sign of life')
    assert len(scene.commands) == after


def test_an_action_that_breaks_a_limit_never_reaches_the_driver_and_the_arm_holds(stage, yaml_of):
    scene = Scene(stage, make_arm(POSITIONS, low=-1.0, high=1.0), yaml_of=yaml_of)
    scene.want((0.5, 0.0))
    scene.wait_for_refusal(scene.guard, 'speed of joint1')
    scene.wait_for_rest()
    assert abs(scene.moved) < 1e-3
    assert all(scene.is_stop(numbers) for numbers in scene.sent())
    assert not scene.executed


def test_a_driver_has_limits_of_its_own(stage, yaml_of):
    scene = Scene(stage, make_arm(VELOCITIES), yaml_of=yaml_of, velocity_limit=0.1)
    scene.want((0.05, 0.0))
    scene.wait_for_refusal(scene.driver, 'speed: expected 0.1')
    assert scene.moved == 0


@pytest.mark.parametrize('scene', KINDS, indirect=True)
def test_when_the_driver_vanishes_no_action_passes_any_more(scene):
    scene.act()
    assert scene.driver.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    scene.let_the_state_expire()
    count = len(scene.executed)
    scene.want()
    scene.wait_for_refusal(scene.guard, 'state: expected one of the last')
    assert len(scene.executed) == count
    if scene.robot.command.interface_type in ('twist', 'velocities'):
        assert not scene.sent()[-1].any()


def test_an_arm_of_which_nothing_was_ever_heard_is_not_commanded(stage, yaml_of):
    scene = Scene(stage, make_arm(POSITIONS), yaml_of=yaml_of)
    scene.driver.trigger_deactivate()
    scene.let_the_state_expire()
    scene.guard._robot.listener._positions = None
    scene.want()
    scene.wait_for_refusal(scene.guard, 'state: expected a measured one')
    assert not scene.commands


def test_lost_commands_slow_the_arm_down_and_do_no_more(stage, yaml_of):
    robot = replace(make_arm(POSITIONS), action_lifetime_s=60.0)
    scene = Scene(stage, robot, yaml_of=yaml_of, drop_rate=0.4, seed=3)
    for count in range(1, 11):
        begun = scene.now
        scene.want((0.02, 0.0))
        stage.spin_until(
            lambda count=count, begun=begun: (
                len(scene.executed) >= count and scene.now - begun > robot.period_ns
            ),
            'the action, and a control period',
        )
    stage.spin_until(lambda: sum(scene.arm.counts.values()) >= 10, 'the commands')
    stage.spin_until(lambda: scene.moved > 0.1, 'most of the way')
    scene.wait_for_rest()
    assert scene.moved <= 0.2 + 1e-6
    assert scene.arm.counts['lost'] > 0


def test_a_guard_that_dies_without_a_word_leaves_an_arm_that_stops(stage, yaml_of):
    scene = Scene(stage, make_arm(SERVO), yaml_of=yaml_of)
    scene.act()
    stage.spin_until(lambda: scene.moved > 0.001, 'motion')
    stage._executor.remove_node(scene.guard)
    stage.spin_until(lambda: scene.arm.counts['watchdog'], 'the watchdog')
    scene.wait_for_rest()
    assert len(scene.commands) == 1


def test_a_driver_refuses_what_is_stale(stage, yaml_of):
    scene = Scene(stage, make_arm(SERVO), yaml_of=yaml_of)
    commands = stage.speak(topics.command_topic(scene.robot.command))
    scene.act()
    stage.spin_until(lambda: scene.commands, 'a command')
    old = scene.commands[0]
    old.header.stamp = from_ns(scene.now - 10**10)
    commands.publish(old)
    scene.wait_for_refusal(scene.driver, 'stale command')


def test_unitless_commands_are_parts_of_the_servos_scale(stage, yaml_of):
    scene = Scene(stage, make_arm(SERVO, scale=(0.4, 2.0)), yaml_of=yaml_of)
    scene.act((0.02, 0.05))
    stage.spin_until(lambda: scene.commands, 'a command')
    twist = scene.commands[0].twist
    assert (twist.linear.x, twist.angular.z) == pytest.approx((0.5, 0.25))
    assert scene.commands[0].header.frame_id == 'base'


@pytest.mark.parametrize(
    'kind', ['control_msgs/action/GripperCommand', 'control_msgs/action/ParallelGripperCommand']
)
def test_a_gripper_closes_opens_and_keeps_what_it_holds_at_a_stop(stage, yaml_of, kind):
    robot = make_arm(
        VELOCITIES,
        low=0.0,
        high=0.08,
        axes=('joint1', 'gripper'),
        gripper=replace(GRIPPER, type=kind),
    )
    scene = Scene(
        stage, replace(robot, action_lifetime_s=60.0), yaml_of=yaml_of, gripper_speed=0.01
    )
    gripper = scene.driver._gripper
    stage.spin_until(scene.guard._robot.driver._gripper._client.server_is_ready, 'the gripper')
    scene.act((0.0, 0.02))
    stage.spin_until(
        lambda: abs(gripper.position - 0.02) < 1e-6 and not gripper._goal_handle, 'the gripper'
    )
    scene.act((0.0, 0.08))
    stage.spin_until(lambda: gripper.position > 0.025, 'the gripper to open')
    scene.guard.trigger_deactivate()
    stage.spin_until(lambda: gripper._goal_handle is None, 'the stop')
    assert 0.025 < gripper.position < 0.08


def test_a_real_arm_cannot_be_had_in_lockstep(stage, yaml_of):
    node = stage.make(GuardNode, embodiment=yaml_of(make_arm(SERVO)), lockstep=True)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE


def test_a_pose_may_come_from_a_topic_instead_of_tf(stage, yaml_of):
    from efm_guard.ros_driver import from_pose

    robot = make_arm(POSE, pose_topic='tool_pose')
    path = yaml_of(robot)
    guard = stage.start(GuardNode, embodiment=path, lockstep=False)
    poses = stage.speak(
        topics.Topic(
            'tool_pose', 'geometry_msgs/msg/PoseStamped', qos=topics.SENSOR_DATA, meaning=''
        )
    )
    wrong = replace(robot, command=replace(robot.command, frame='world'))
    here = np.array([0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0])
    poses.publish(from_pose(here, 5, wrong))
    stage.spin_until(lambda: 'world' in guard._robot.listener.state.problem, 'a refusal')
    poses.publish(from_pose(here, 6, robot))
    stage.spin_until(lambda: guard._robot.listener.state.stamp == 6, 'the pose')
    np.testing.assert_allclose(guard._robot.listener.state.pose, here)


@pytest.mark.parametrize('reliability', ['RELIABLE', 'BEST_EFFORT'])
@pytest.mark.parametrize('durability', ['VOLATILE', 'TRANSIENT_LOCAL'])
@pytest.mark.parametrize('topic', [topics.TF, topics.TF_STATIC])
def test_transforms_arrive_whatever_their_quality_of_service(
    stage, topic, durability, reliability
):
    profile = QoSProfile(
        depth=1,
        durability=DurabilityPolicy[durability],
        reliability=ReliabilityPolicy[reliability],
    )
    publisher = stage.peer.create_publisher(TFMessage, topic, profile)
    tree = listen_to_tf(stage.peer)
    frame = f'arm_{durability}_{reliability}'
    transform = from_transform(np.array([1.0, 0, 0, 0, 0, 0, 1]), 5, frame='base', child=frame)

    def arrived():
        publisher.publish(TFMessage(transforms=[transform]))
        return frame in tree.parents

    stage.spin_until(arrived, 'the transform')
