"""Publishers and subscriptions made from the topic table, so that both ends agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from efm_core.embodiment import Camera
from efm_core.topics import EVERY, LATCHED, NEWEST, Topic
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

PROFILES = {
    NEWEST: QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
    EVERY: QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE),
    LATCHED: QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
}


@cache
def message_type(name: str) -> Any:
    """Return the class of a ROS 2 type such as ``sensor_msgs/msg/Image``."""
    package, kind, cls = name.split('/')
    return getattr(import_module(f'{package}.{kind}'), cls)


def profile(topic: Topic, lockstep: bool = False) -> QoSProfile:
    """Return the quality of ``topic``; lockstep may lose nothing, so *newest* becomes *every*."""
    return PROFILES[EVERY if lockstep and topic.qos == NEWEST else topic.qos]


def publisher(node: Node, topic: Topic, lockstep: bool = False) -> Publisher:
    """Return a publisher of ``topic`` on ``node``."""
    return node.create_publisher(message_type(topic.type), topic.name, profile(topic, lockstep))


def subscription(
    node: Node,
    topic: Topic,
    callback: Callable[[Any], None],
    lockstep: bool = False,
    raw: bool = False,
) -> Subscription:
    """Return a subscription to ``topic``; ``raw`` gives the callback serialised bytes."""
    return node.create_subscription(
        message_type(topic.type), topic.name, callback, profile(topic, lockstep), raw=raw
    )


def camera_subscription(
    node: Node, camera: Camera, callback: Callable[[Any], None], lockstep: bool = False
) -> Subscription:
    """Return a subscription to a camera; ``.../compressed`` is a CompressedImage."""
    kind = 'CompressedImage' if camera.topic.endswith('compressed') else 'Image'
    topic = Topic(camera.topic, f'sensor_msgs/msg/{kind}', NEWEST, camera.name)
    return subscription(node, topic, callback, lockstep)
