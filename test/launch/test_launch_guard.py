"""`guard.launch.py`: the guard passes an action, and its last command stops the robot."""

from __future__ import annotations

from typing import Any

from colcon_prefix import make_prefix, prefix_environment
from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_twist
from efm_core.ros_lifecycle import make_executor
from efm_core.ros_messages import from_action, from_ns, stamped
from efm_interfaces.msg import Permit
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
import launch_pytest
from launch_pytest.actions import ReadyToTest
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from sources import ROOT
from waiting import wait_for

ROBOT = ROOT / 'config' / 'embodiments' / 'table_arm.yaml'
ARGUMENTS = {'lockstep': 'False', 'use_sim_time': 'false', 'robot': 'robot_0'}
MOVE = np.array([0.02, 0.0])


class Peer(Node):
    """Publishes permits and actions in the place of supervisor and policy; collects commands."""

    def __init__(self, context: Context):
        super().__init__('peer', context=context, namespace='/robot_0')
        self._hash = load_embodiment(ROBOT).hash
        self._executor = make_executor(context)
        self._executor.add_node(self)
        self._actions = ros_topics.publisher(self, topics.ACTION)
        self._permits = ros_topics.publisher(self, topics.PERMIT)
        self.commands: list[Any] = []
        ros_topics.subscription(self, topics.COMMAND, self.commands.append)

    def has_moved(self) -> bool:
        """Publish a permit and an action; return whether the guard has passed one."""
        now = self.get_clock().now().nanoseconds
        permit = Permit(episode_id='first', valid_until=from_ns(now + 10**10))
        self._permits.publish(stamped(permit, now))
        action = from_action(
            np.array([1]), MOVE, 0.0, now, episode_id='first', embodiment_hash=self._hash
        )
        self._actions.publish(action)
        return any(to_twist(command).any() for command in self.spin())

    def spin(self) -> list:
        """Receive what has arrived; return all commands so far."""
        for _ in range(20):
            self._executor.spin_once(timeout_sec=0.01)
        return self.commands


@launch_pytest.fixture
def guard(tmp_path, monkeypatch):
    for name, value in prefix_environment(make_prefix(tmp_path / 'prefix')).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    arguments = {'run': str(tmp_path / 'run'), 'embodiment': str(ROBOT), **ARGUMENTS}
    description = IncludeLaunchDescription(
        str(ROOT / 'launch' / 'guard.launch.py'), launch_arguments=list(arguments.items())
    )
    return LaunchDescription([description, ReadyToTest()])


@pytest.fixture
def peer():
    context = Context()
    rclpy.init(context=context)
    peer = Peer(context)
    yield peer
    peer.destroy_node()
    context.try_shutdown()


@pytest.mark.launch(fixture=guard)
def test_the_last_command_of_a_launched_guard_stops_the_robot(guard, peer):
    wait_for(peer.has_moved, 'a command that moves the robot')
    yield  # the launch is shut down
    wait_for(lambda: not to_twist(peer.spin()[-1]).any(), 'a stop')
