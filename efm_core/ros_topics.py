"""Publishers and subscriptions made from the topic table, so that both ends agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from efm_core.embodiment import Camera
from efm_core.topics import DURABLE, LATCHED, RELIABLE, SENSOR_DATA, Topic
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

PROFILES = {
    SENSOR_DATA: QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
    RELIABLE: QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE),
    DURABLE: QoSProfile(
        depth=100,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
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


def offered(topic: Topic, lockstep: bool = False) -> QoSProfile:
    """Return the quality of a publisher; lockstep may lose nothing, so all is kept there."""
    return PROFILES[DURABLE if lockstep and topic.qos in (SENSOR_DATA, RELIABLE) else topic.qos]


def asked(topic: Topic, lockstep: bool = False, past: bool = False) -> QoSProfile:
    """
    Return the quality of a subscription; lockstep may lose nothing, so *newest* becomes *every*.

    :param past: ask for what is *kept* of the time before. Who acts on a message must not: what
        an earlier observation was answered with is no command for now.
    """
    if past:
        return PROFILES[DURABLE]
    lossless = topic.qos == DURABLE or (lockstep and topic.qos == SENSOR_DATA)
    return PROFILES[RELIABLE if lossless else topic.qos]


def publisher(node: Node, topic: Topic, lockstep: bool = False) -> Publisher:
    """Return a publisher of ``topic`` on ``node``."""
    return node.create_publisher(message_type(topic.type), topic.name, offered(topic, lockstep))


def subscription(
    node: Node,
    topic: Topic,
    callback: Callable[[Any], None],
    lockstep: bool = False,
    raw: bool = False,
    past: bool = False,
) -> Subscription:
    """Return a subscription; ``raw`` gives the callback serialised bytes, ``past`` as `asked`."""
    return node.create_subscription(
        message_type(topic.type), topic.name, callback, asked(topic, lockstep, past), raw=raw
    )


def camera_topic(camera: Camera) -> Topic:
    """Return the topic of a camera; ``.../compressed`` is a CompressedImage."""
    kind = 'CompressedImage' if camera.topic.endswith('compressed') else 'Image'
    return Topic(camera.topic, f'sensor_msgs/msg/{kind}', qos=SENSOR_DATA, meaning=camera.name)


def camera_subscription(
    node: Node, camera: Camera, callback: Callable[[Any], None], lockstep: bool = False
) -> Subscription:
    """Return a subscription to a camera."""
    return subscription(node, camera_topic(camera), callback, lockstep)
