"""`efm check` as a person types it, beside real nodes: a sound robot passes, faults are named."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
import json
import sys
import threading
import time
import warnings

from arms import make_arm
from efm_core import ros_topics, topics
from efm_core.embodiment_files import save_embodiment
from efm_core.messages import to_ns
from efm_core.ros_lifecycle import make_executor
from efm_core.ros_messages import from_image, from_ns
from efm_interfaces.srv import ResetWorld
from efm_sim.fake_arm.node import FakeDriverNode
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage
from waiting import run_to_end, scaled, wait_for

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of the parser that the message classes bring along
    import rosidl_generator_py  # noqa: F401

SERVO = 'moveit_servo'
NAMESPACE = '/robot_0'


class Rig(Node):
    """
    Camera, reset and emergency stop of a robot; counts the commands that it receives.

    With ``simulated_s`` it also publishes the time, which began at this second.
    """

    def __init__(self, context, robot, *, size=64, behind_s=0.0, simulated_s=0.0):
        super().__init__('rig', context=context, namespace=NAMESPACE)
        self._size = size
        self._behind_ns = int(behind_s * 1e9)
        if simulated_s:
            self._behind_ns = time.time_ns() - int(simulated_s * 1e9)
            self._times = self.create_publisher(ClockMessage, '/clock', 10)
            self.create_timer(0.01, lambda: self._times.publish(ClockMessage(clock=self._time())))
        self._images = ros_topics.publisher(self, topics.IMAGE)
        self._estop = ros_topics.publisher(self, topics.ESTOP)
        self.create_service(ResetWorld, topics.RESET_WORLD, lambda request, response: response)
        self.create_timer(0.04, self._show)
        self.commands = []
        topic = topics.command_topic(robot.command)
        ros_topics.subscription(self, topic, self.commands.append)

    def _show(self):
        picture = np.zeros((self._size, self._size, 3), np.uint8)
        self._images.publish(from_image(picture, to_ns(self._time())))

    def _time(self):
        return from_ns(time.time_ns() - self._behind_ns)


@contextmanager
def running(robot, path, use_sim_time=False, **faults):
    """Run a driver and a rig in a thread."""
    context = Context()
    rclpy.init(context=context)
    given = {'embodiment': str(path), 'rate_hz': 25.0, 'use_sim_time': use_sim_time}
    parameters = [Parameter(name, value=value) for name, value in given.items()]
    driver = FakeDriverNode(context=context, namespace=NAMESPACE, parameter_overrides=parameters)
    assert driver.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert driver.trigger_activate() == TransitionCallbackReturn.SUCCESS
    rig = Rig(context, robot, **faults)
    executor = make_executor(context)
    for node in (driver, rig):
        executor.add_node(node)
    ended = threading.Event()

    def spin():
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield rig
    finally:
        ended.set()
        thread.join()
        executor.shutdown()
        for node in (driver, rig):
            node.destroy_node()
        context.try_shutdown()


def check(path, *words):
    """Return exit code and output of the command."""
    command = [sys.executable, '-m', 'efm.cli', 'check', '--embodiment', str(path)]
    slow = ('--seconds', f'{scaled(4.0):.1f}', '--max-skew-s', f'{scaled(1.0):.1f}')
    done = run_to_end([*command, *slow, *words], 200)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def robot():
    # A slow control rate: on a busy machine the messages of all nodes are delayed.
    arm = make_arm(SERVO, state_timeout_s=scaled(1.0))
    return replace(arm, control_rate_hz=2.0, action_lifetime_s=1.0)


@pytest.fixture
def path(robot, tmp_path):
    return save_embodiment(robot, tmp_path / 'arm.yaml')


def wait_for_pass(path, *words):
    """Check until nothing is wrong: on a busy machine even a sound robot publishes too slowly."""
    wait_for(lambda: check(path, *words)[0] == 0, 'a check without a finding')


def test_a_sound_robot_passes_and_is_never_commanded(robot, path):
    with running(robot, path) as rig:
        code, said = check(path)
        assert not rig.commands
    assert (code, 'no findings' in said) == (0, True), said


def test_each_fault_of_a_robot_is_a_finding(robot, path):
    with running(robot, path, size=32, behind_s=600.0) as rig:
        ros_topics.publisher(rig, topics.command_topic(robot.command))
        code, said = check(path, '--json')
    found = {
        (item['subject'], item['problem'].split(':')[0]) for item in json.loads(said)['findings']
    }
    assert code == 1
    assert found == {
        ('image', 'size'),
        ('image', 'stamps'),
        ('driver/command', 'expected no publisher but the guard, got /robot_0/rig'),
    }


def test_publishers_that_dds_does_not_connect_are_findings(robot, path):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    with running(robot, path) as rig:
        rig.create_publisher(Joy, 'joy', best_effort)
        rig.create_publisher(TFMessage, '/tf_static', 10)
        rig.create_publisher(TFMessage, '/tf', 10)  # connects
        rig.create_publisher(Bool, 'estop', best_effort)  # connects: a stop in any quality does
        code, said = check(path, '--json')
    found = [(item['subject'], item['problem']) for item in json.loads(said)['findings']]
    refused = 'quality of service: expected a publisher that DDS connects, /robot_0/rig is refused'
    assert code == 1
    assert found == [
        ('joy', f'{refused}: best effort publisher and reliable subscription'),
        ('/tf_static', f'{refused}: volatile publisher and transient local subscription'),
    ]


def test_a_robot_on_simulated_time_passes_with_the_option_and_not_without(robot, path):
    with running(robot, path, use_sim_time=True, simulated_s=1000.0):
        wait_for_pass(path, '--use-sim-time')
        code, said = check(path)
    assert code == 1
    assert 'check with --use-sim-time' in ' '.join(said.split())


def test_without_any_simulated_time_that_is_a_finding(robot, path):
    with running(robot, path):
        code, said = check(path, '--use-sim-time', '--json')
    assert code == 1
    assert [item['subject'] for item in json.loads(said)['findings']] == ['/clock']


def test_where_there_is_no_robot_everything_is_missing(path):
    code, said = check(path, '--seconds', '1')
    assert code == 1
    words = ' '.join(said.split())
    for subject in ('image', 'joint_states', 'tf', 'driver/command', 'reset_world', 'estop'):
        assert subject in words
