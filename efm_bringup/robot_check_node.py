"""Observe a running robot for some seconds, without publishing to it."""

from __future__ import annotations

from functools import partial
import os
import time
from typing import Any

from efm_bringup.robot_check import (
    Endpoint,
    published,
    RobotObservation,
    streams,
    TopicObservation,
)
from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_core.machine import ensure_log_folder
from efm_core.poses import TransformTree
from efm_core.ros_lifecycle import make_executor
from efm_core.ros_tool_pose import listen_to_tf
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_check_compatible, QoSCompatibility, QoSProfile

NAME = 'efm_check'
ENDLESS_NS = 2**60  # 36 years; DDS implementations report an endless time as more than this


class RobotObserver(Node):
    """Subscribes the topics of the embodiment, and reads the endpoints of the ROS graph."""

    def __init__(self, embodiment: Embodiment, *, use_sim_time: bool = False, **kwargs: Any):
        """
        Subscribe the topics.

        :param use_sim_time: the robot's clock is ``/clock``.
        """
        super().__init__(
            NAME,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter('use_sim_time', value=use_sim_time)],
            **kwargs,
        )
        self.get_logger().set_level(
            LoggingSeverity.ERROR
        )  # the findings say what rclpy would warn
        command = embodiment.command
        self._published = published(embodiment)
        self._command = topics.command_topic(command)
        names = [topic.name for topic in (*self._published, self._command)]
        self._observed = {name: TopicObservation() for name in names}
        for topic in streams(embodiment):
            ros_topics.subscription(self, topic, partial(self._on_message, topic.name))
        needs_pose = command.needs_pose or embodiment.sees_tool_pose
        reads_tf = needs_pose and not command.pose_topic
        self._tree = listen_to_tf(self) if reads_tf else TransformTree()
        # Without any event, the events executor would exceed the timeout of spin_once.
        self.create_timer(0.1, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def result(self) -> RobotObservation:
        """Return everything that was observed so far."""
        for topic in self._published:
            self._observed[topic.name].publishers = [
                _endpoint(info, [(_qos_of(info), qos) for qos in ros_topics.accepted(topic)])
                for info in self._infos(topic.name, self.get_publishers_info_by_topic)
            ]
        name = self._command.name
        command = self._observed[name]
        offered = ros_topics.offered(self._command)
        command.subscribers = [
            _endpoint(info, [(offered, _qos_of(info))])
            for info in self._infos(name, self.get_subscriptions_info_by_topic)
        ]
        command.publishers = [
            Endpoint(_node_of(info), info.topic_type)
            for info in self._infos(name, self.get_publishers_info_by_topic)
        ]
        services = {name for name, _ in self.get_service_names_and_types()}
        return RobotObservation(self._observed, services, tree=self._tree, now=self._now())

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_message(self, name: str, message: Any) -> None:
        self._observed[name].add(message, self._now())

    def _infos(self, name: str, ask: Any) -> list[Any]:
        """Return the endpoints of other nodes on a topic."""
        return [i for i in ask(self.resolve_topic_name(name)) if i.node_name != NAME]


def _node_of(info: Any) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def _qos_of(info: Any) -> QoSProfile:
    """
    Return the QoS of an endpoint; where DDS reports an endless time, none was asked for.

    Without this, rclpy would take an endless deadline for one that the other side must offer.
    """
    found = info.qos_profile
    times = {
        name: Duration()
        if getattr(found, name).nanoseconds >= ENDLESS_NS
        else getattr(found, name)
        for name in ('deadline', 'liveliness_lease_duration')
    }
    return QoSProfile(
        depth=1,
        reliability=found.reliability,
        durability=found.durability,
        liveliness=found.liveliness,
        **times,
    )


def _endpoint(info: Any, pairs: list[tuple[QoSProfile, QoSProfile]]) -> Endpoint:
    """
    Return an endpoint, with the reason why DDS does not connect it, if it does not.

    :param pairs: publisher and subscription; one pair that DDS connects is enough.
    """
    results = [qos_check_compatible(*pair) for pair in pairs]
    is_connected = any(compatible != QoSCompatibility.ERROR for compatible, _ in results)
    reason = results[0][1].replace('ERROR: ', '').strip('; ').replace(';', ', ').lower()
    return Endpoint(_node_of(info), info.topic_type, mismatch='' if is_connected else reason)


def observe_robot(
    embodiment: Embodiment,
    namespace: str,
    *,
    seconds: float,
    discovery_range: str,
    use_sim_time: bool = False,
) -> RobotObservation:
    """
    Return the observation of a robot over some seconds.

    :param namespace: of the robot, with a leading slash.
    :param seconds: duration [s].
    :param discovery_range: ``LOCALHOST`` or ``SUBNET``.
    :param use_sim_time: the robot runs on simulated time, of ``/clock``.
    """
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = discovery_range
    context = Context()
    ensure_log_folder()
    rclpy.init(context=context)
    try:
        node = RobotObserver(
            embodiment, use_sim_time=use_sim_time, context=context, namespace=namespace
        )
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
