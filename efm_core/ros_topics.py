"""Publishers and subscriptions from the topic table, so that both ends agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from efm_core.embodiment import Camera
from efm_core.topics import (
    camera_topic,
    DURABLE,
    ESTOP,
    LATCHED,
    RELIABLE,
    SENSOR_DATA,
    Topic,
)
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

EVERY_PUBLISHER = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


@cache
def message_type(name: str) -> Any:
    """Return the class of a ROS 2 type such as ``sensor_msgs/msg/Image``."""
    package, kind, cls = name.split('/')
    return getattr(import_module(f'{package}.{kind}'), cls)


def offered(topic: Topic, lockstep: bool = False) -> QoSProfile:
    """Return the QoS profile of a publisher; in lockstep, where no sample may be lost, durable."""
    return PROFILES[DURABLE if lockstep and topic.qos in (SENSOR_DATA, RELIABLE) else topic.qos]


def requested(topic: Topic, lockstep: bool = False, history: bool = False) -> QoSProfile:
    """
    Return the QoS profile of a subscription.

    In lockstep no sample may be lost, so ``sensor_data`` becomes ``reliable``. Of ``latched``
    topics a subscription keeps the history too: in a short episode END would otherwise overwrite
    a START that a busy node has not read yet.

    :param history: request the history of ``durable`` publishers. A node that acts on the messages
        must not: an old answer is no command for now.
    """
    if history or topic.qos == LATCHED:
        return PROFILES[DURABLE]
    lossless = topic.qos == DURABLE or (lockstep and topic.qos == SENSOR_DATA)
    return PROFILES[RELIABLE if lossless else topic.qos]


def accepted(topic: Topic) -> tuple[QoSProfile, ...]:
    """Return the QoS profiles in which nodes outside lockstep subscribe to ``topic``."""
    if topic == ESTOP:
        return PROFILES[RELIABLE], PROFILES[DURABLE], EVERY_PUBLISHER
    return (requested(topic),)


def publisher(node: Node, topic: Topic, lockstep: bool = False) -> Publisher:
    """Return a publisher of ``topic`` on ``node``."""
    return node.create_publisher(message_type(topic.type), topic.name, offered(topic, lockstep))


def subscription(
    node: Node,
    topic: Topic,
    callback: Callable[[Any], None],
    lockstep: bool = False,
    raw: bool = False,
    history: bool = False,
) -> Subscription:
    """
    Return a subscription of ``topic`` on ``node``.

    :param raw: call back with serialised bytes.
    :param history: as `requested`.
    """
    return node.create_subscription(
        message_type(topic.type),
        topic.name,
        callback,
        requested(topic, lockstep, history),
        raw=raw,
    )


def estop_subscriptions(node: Node, callback: Callable[[Any], None]) -> list[Subscription]:
    """
    Subscribe ``estop`` in every way that a switch may publish it.

    DDS connects no volatile publisher to a transient local subscription, no best-effort one to a
    reliable subscription, and gives no history to a volatile one. So a sample may arrive several
    times, and ``callback`` must not mind. No subscription keeps only the newest sample, since the
    release of a switch would overwrite a short press.
    """
    kind = message_type(ESTOP.type)
    return [node.create_subscription(kind, ESTOP.name, callback, qos) for qos in accepted(ESTOP)]


def camera_subscription(
    node: Node, camera: Camera, callback: Callable[[Any], None], lockstep: bool = False
) -> Subscription:
    """Return a subscription to a camera."""
    return subscription(node, camera_topic(camera), callback, lockstep)
