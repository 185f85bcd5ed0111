"""A guard and a driver in separate processes: the last command when they are ended."""

from __future__ import annotations

from contextlib import contextmanager
import itertools
import signal
import subprocess
import sys
import warnings

from arms import make_arm
from efm_core import ros_topics, topics
from efm_core.embodiment_files import save_embodiment
from efm_core.ros_lifecycle import make_executor
from efm_core.ros_messages import from_action, from_ns, stamped
from efm_interfaces.msg import EpisodeEvent, Permit
from efm_sim.fake_arm.command import read_command
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from waiting import Deadline, scaled

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of the parser that the message classes bring along
    import rosidl_generator_py  # noqa: F401

VELOCITIES = 'forward_velocity_controller'
SERVO = 'moveit_servo'
domains = itertools.count(80)


class Person(Node):
    """Publishes permits and actions, and watches the arm."""

    def __init__(self, context, robot):
        super().__init__('person', context=context)
        self.robot = robot
        self.commands = []
        self.joints = []
        self._executor = make_executor(context)
        self._executor.add_node(self)
        self.actions = ros_topics.publisher(self, topics.ACTION)
        self.permits = ros_topics.publisher(self, topics.PERMIT)
        self.events = ros_topics.publisher(self, topics.EPISODE_EVENT)
        command = topics.command_topic(robot.command)
        ros_topics.subscription(self, command, self.commands.append)
        ros_topics.subscription(self, topics.JOINT_STATES, self.joints.append)

    def spin_until(self, fact, what, seconds=30.0):
        deadline = Deadline(seconds)
        while not fact():
            assert not deadline.has_passed(), f'waited {seconds} s in vain for {what}'
            self._executor.spin_once(timeout_sec=0.02)

    def move(self, ready=lambda: True):
        """Publish permits and actions until the arm moves, is commanded to, and ``ready()``."""

        def moving():
            now = self.get_clock().now().nanoseconds
            permit = Permit(episode_id='first', valid_until=from_ns(now + 10**10))
            self.permits.publish(stamped(permit, 1))
            about = {'episode_id': 'first', 'embodiment_hash': self.robot.hash}
            self.actions.publish(from_action((1,), np.array([0.02, 0.0]), 0.0, now, **about))
            return self.is_moving() and bool(self.commands) and ready()

        self.spin_until(lambda: self.joints, 'the driver')
        self.spin_until(moving, 'motion')

    def is_moving(self, count=3):
        joints = [np.array(message.position) for message in self.joints[-count:]]
        return len(joints) == count and np.abs(joints[-1] - joints[0]).max() > 1e-4


@contextmanager
def running(module, path, code='', **parameters):
    """Run a node, or ``code``, in a separate process; end it afterwards."""
    words = [f'{key}:={value}' for key, value in {'embodiment': path, **parameters}.items()]
    given = [word for pair in words for word in ('-p', pair)]
    program = ['-c', code] if code else ['-m', module]
    process = subprocess.Popen([sys.executable, *program, '--ros-args', *given])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def context(monkeypatch):
    """Return a context in a domain of its own: DDS goes on to count nodes that were killed."""
    domain = next(domains)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    yield context
    context.try_shutdown()


@pytest.mark.parametrize('kind', [VELOCITIES, SERVO])
@pytest.mark.parametrize(
    'number',
    [signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
    ids=['sigterm', 'ctrl_c', 'closed_terminal'],
)
def test_a_guard_that_is_asked_to_end_stops_the_arm_first(context, tmp_path, kind, number):
    robot = make_arm(kind, state_timeout_s=scaled(1.0))
    path = save_embodiment(robot, tmp_path / 'arm.yaml')
    person = Person(context, robot)
    # A watchdog that never comes: only the guard's last command can stop this arm.
    with (
        running('efm_sim.fake_arm.node', path, watchdog_s=60.0, max_age_s=scaled(2.0, 10.0)),
        running('efm_guard.node', path) as guard,
    ):
        person.move()
        guard.send_signal(number)
        person.spin_until(lambda: guard.poll() is not None, 'the end of the guard')
        assert guard.returncode == 0
        stopped = len(person.joints) + 50
        person.spin_until(lambda: len(person.joints) > stopped, 'the arm')
        assert not person.is_moving(20)
        last = read_command(person.commands[-1], robot.command).values
        assert not last.any()
    person.destroy_node()


FAULTY = """
import sys
from efm_core.ros_lifecycle import run
from efm_guard.node import GuardNode

class Faulty(GuardNode):
    def _on_event(self, event):
        raise KeyError('a defect')

run(Faulty, sys.argv)
"""


def test_an_exception_in_a_callback_stops_the_arm_first(context, tmp_path):
    robot = make_arm(VELOCITIES, state_timeout_s=scaled(1.0))
    path = save_embodiment(robot, tmp_path / 'arm.yaml')
    person = Person(context, robot)
    with (
        running('efm_sim.fake_arm.node', path, watchdog_s=60.0, max_age_s=scaled(2.0, 10.0)),
        running('', path, FAULTY) as guard,
    ):
        person.move()
        person.events.publish(EpisodeEvent(event=EpisodeEvent.END))
        person.spin_until(lambda: guard.poll() is not None, 'the end of the guard')
        assert guard.returncode == 1
        stopped = len(person.joints) + 50
        person.spin_until(lambda: len(person.joints) > stopped, 'the arm')
        assert not read_command(person.commands[-1], robot.command).values.any()
    person.destroy_node()


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'frozen'])
def test_the_second_process_stops_the_arm_of_a_guard_that_is_killed_or_frozen(
    context, tmp_path, number
):
    robot = make_arm(VELOCITIES, state_timeout_s=scaled(1.0))
    path = save_embodiment(robot, tmp_path / 'arm.yaml')
    person = Person(context, robot)
    with (
        running('efm_sim.fake_arm.node', path, watchdog_s=60.0, max_age_s=scaled(2.0, 10.0)),
        running('efm_guard.watch_node', path),
        running('efm_guard.node', path) as guard,
    ):
        command = topics.command_topic(robot.command).name
        # Its publisher appears with the first command that it received from the guard.
        person.move(lambda: person.count_publishers(command) >= 2)
        guard.send_signal(number)
        person.spin_until(
            lambda: not read_command(person.commands[-1], robot.command).values.any(), 'a stop'
        )
        stopped = len(person.joints) + 50
        person.spin_until(
            lambda: len(person.joints) > stopped and not person.is_moving(20), 'rest'
        )
        assert person.count_publishers(command) >= 1  # DDS may have given up the guard by now
    person.destroy_node()


def test_a_guard_that_was_killed_leaves_the_arm_to_its_watchdog(context, tmp_path):
    robot = make_arm(SERVO, state_timeout_s=scaled(1.0))
    path = save_embodiment(robot, tmp_path / 'arm.yaml')
    person = Person(context, robot)
    with (
        running('efm_sim.fake_arm.node', path, max_age_s=scaled(2.0, 10.0)),
        running('efm_guard.node', path) as guard,
    ):
        person.move()
        guard.kill()
        guard.wait()
        person.spin_until(lambda: not person.is_moving(20), 'rest')
        assert read_command(person.commands[-1], robot.command).values.any()
    person.destroy_node()
