"""Observe a running robot for some seconds, without publishing to it."""

from __future__ import annotations

from functools import partial
import os
import time
from typing import Any

from efm_bringup.robot_check import Endpoint, RobotObservation, TopicObservation
from efm_core import ros_topics, topics
from efm_core.embodiment import Camera, Embodiment
from efm_core.machine import ensure_log_folder
from efm_core.messages import to_stamp
from efm_core.poses import TransformTree
from efm_core.ros_lifecycle import make_executor
from efm_guard.ros_state import listen_to_tf
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

NAME = 'efm_check'


class RobotObserver(Node):
    """Subscribes the topics of the embodiment, and reads the endpoints of the ROS graph."""

    def __init__(self, embodiment: Embodiment, **kwargs: Any):
        """Subscribe the topics."""
        super().__init__(NAME, enable_rosout=False, start_parameter_services=False, **kwargs)
        command = embodiment.command
        wanted = dict(map(self._image_topic, embodiment.cameras))
        wanted |= {topics.JOINT_STATES.name: topics.JOINT_STATES.type} if command.joints else {}
        if command.needs_pose and command.pose_topic:
            wanted[command.pose_topic] = 'geometry_msgs/msg/PoseStamped'
        self._names = [*wanted, topics.command_topic(command).name, topics.ESTOP.name]
        self._arrivals: dict[str, list[tuple[int, int]]] = {name: [] for name in self._names}
        self._newest: dict[str, Any] = {}
        for name, kind in wanted.items():
            topic = topics.Topic(name, kind, qos=topics.SENSOR_DATA, meaning='')
            ros_topics.subscription(self, topic, partial(self._on_message, name))
        reads_tf = command.needs_pose and not command.pose_topic
        self._tree = listen_to_tf(self) if reads_tf else TransformTree()
        # Without any event, the events executor would exceed the timeout of spin_once.
        self.create_timer(0.1, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def result(self) -> RobotObservation:
        """Return everything that was observed so far."""
        services = {name for name, _ in self.get_service_names_and_types()}
        observed = {name: self._topic(name) for name in self._names}
        return RobotObservation(observed, services, tree=self._tree, now=time.time_ns())

    @staticmethod
    def _image_topic(camera: Camera) -> tuple[str, str]:
        kind = 'CompressedImage' if camera.topic.endswith('compressed') else 'Image'
        return camera.topic, f'sensor_msgs/msg/{kind}'

    def _on_message(self, name: str, message: Any) -> None:
        self._arrivals[name].append((time.time_ns(), to_stamp(message)))
        self._newest[name] = message

    def _topic(self, name: str) -> TopicObservation:
        full = self.resolve_topic_name(name)
        publishers, subscribers = (
            [_endpoint(info) for info in infos if info.node_name != NAME]
            for infos in (
                self.get_publishers_info_by_topic(full),
                self.get_subscriptions_info_by_topic(full),
            )
        )
        return TopicObservation(
            publishers, subscribers, arrivals=self._arrivals[name], newest=self._newest.get(name)
        )


def _endpoint(info: Any) -> Endpoint:
    qos = info.qos_profile
    return Endpoint(
        f'{info.node_namespace.rstrip("/")}/{info.node_name}',
        info.topic_type,
        reliable=qos.reliability == ReliabilityPolicy.RELIABLE,
        latched=qos.durability == DurabilityPolicy.TRANSIENT_LOCAL,
    )


def observe_robot(
    embodiment: Embodiment, namespace: str, seconds: float, discovery_range: str
) -> RobotObservation:
    """
    Return the observation of a robot over some seconds.

    :param namespace: of the robot, with a leading slash.
    :param seconds: duration [s].
    :param discovery_range: ``LOCALHOST`` or ``SUBNET``.
    """
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = discovery_range
    context = Context()
    ensure_log_folder()
    rclpy.init(context=context)
    try:
        node = RobotObserver(embodiment, context=context, namespace=namespace)
        executor = make_executor(context)
        executor.add_node(node)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        observation = node.result()
        node.destroy_node()
        return observation
    finally:
        context.try_shutdown()
