"""Looks at a running robot for some seconds; never sends it anything."""

from __future__ import annotations

from functools import partial
import os
import time
from typing import Any

from efm_bringup.robot_check import Endpoint, Robot, Seen
from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
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


class Watcher(Node):
    """Subscribes what the embodiment names, and asks the graph who is there."""

    def __init__(self, embodiment: Embodiment, **kwargs: Any):
        """Begin to listen."""
        super().__init__(NAME, enable_rosout=False, start_parameter_services=False, **kwargs)
        command = embodiment.command
        wanted = dict(map(self._image, embodiment.cameras))
        wanted |= {topics.JOINT_STATES.name: topics.JOINT_STATES.type} if command.joints else {}
        if command.needs_pose and command.pose_topic:
            wanted[command.pose_topic] = 'geometry_msgs/msg/PoseStamped'
        self._names = [*wanted, topics.command_topic(command).name, topics.ESTOP.name]
        self._arrivals: dict[str, list] = {name: [] for name in self._names}
        self._newest: dict[str, Any] = {}
        for name, kind in wanted.items():
            topic = topics.Topic(name, kind, qos=topics.SENSOR_DATA, meaning='')
            ros_topics.subscription(self, topic, partial(self._on_message, name))
        reads_tf = command.needs_pose and not command.pose_topic
        self._tree = listen_to_tf(self) if reads_tf else TransformTree()
        # Where nothing ever comes, the events executor would wait longer than it was told to.
        self.create_timer(0.1, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def look(self) -> Robot:
        """Return what was seen so far."""
        services = {name for name, _ in self.get_service_names_and_types()}
        seen = {name: self._seen(name) for name in self._names}
        return Robot(seen, services, tree=self._tree, now=time.time_ns())

    @staticmethod
    def _image(camera: Any) -> tuple[str, str]:
        kind = 'CompressedImage' if camera.topic.endswith('compressed') else 'Image'
        return camera.topic, f'sensor_msgs/msg/{kind}'

    def _on_message(self, name: str, message: Any) -> None:
        self._arrivals[name].append((time.time_ns(), to_stamp(message)))
        self._newest[name] = message

    def _seen(self, name: str) -> Seen:
        full = self.resolve_topic_name(name)
        publishers, subscribers = (
            [_endpoint(info) for info in infos if info.node_name != NAME]
            for infos in (
                self.get_publishers_info_by_topic(full),
                self.get_subscriptions_info_by_topic(full),
            )
        )
        return Seen(
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


def watch(embodiment: Embodiment, namespace: str, seconds: float, discovery: str) -> Robot:
    """Return what there was to see of a robot within some seconds."""
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = discovery
    context = Context()
    rclpy.init(context=context)
    try:
        node = Watcher(embodiment, context=context, namespace=namespace)
        executor = make_executor(context)
        executor.add_node(node)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        found = node.look()
        node.destroy_node()
        return found
    finally:
        context.try_shutdown()
