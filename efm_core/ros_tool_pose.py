"""The pose of the tool, from its topic or from tf."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from efm_core import ros_topics, topics
from efm_core.command import Command
from efm_core.config import expect
from efm_core.messages import to_pose, to_pose_in, to_stamp
from efm_core.poses import TransformTree
import numpy as np
from rclpy.node import Node

OnPose = Callable[[int, np.ndarray], None]
OnProblem = Callable[[str], None]


def subscribe_tool_pose(
    node: Node, command: Command, on_pose: OnPose, on_problem: OnProblem
) -> None:
    """
    Call a function with each measured pose of the tool in the command's frame.

    :param on_pose: called with the stamp [ns] and the pose, ``(7,)``; the stamp is 0 if the tool
        does not move in its frame.
    :param on_problem: called with the reason when a message gives no pose.
    :raises ValueError: when the command names neither a frame of the tool nor a topic.
    """
    named = bool(command.pose_topic or command.tool_frame)
    expect(named, 'command.tool_frame', 'a frame, or a pose_topic, for the pose of the tool', "''")
    if command.pose_topic:

        def take(message: Any) -> None:
            try:
                on_pose(to_stamp(message), to_pose_in(message, command.frame))
            except ValueError as error:
                on_problem(str(error))

        ros_topics.subscription(node, topics.pose_topic(command), take)
        return

    def look_up() -> None:
        try:
            pose, stamp = tree.pose(command.tool_frame, command.frame)
        except LookupError as error:
            on_problem(str(error))
        else:
            on_pose(stamp or 0, pose)

    tree = listen_to_tf(node, look_up)


def listen_to_tf(node: Node, then: Callable[[], None] = lambda: None) -> TransformTree:
    """
    Return a tree that is filled from ``/tf`` and ``/tf_static``.

    :param then: called after each message.
    """
    tree = TransformTree()
    message_type = ros_topics.message_type('tf2_msgs/msg/TFMessage')

    def take(message: Any, static: bool) -> None:
        for item in message.transforms:
            stamp = None if static else to_stamp(item)
            with suppress(ValueError):  # as tf2 does: an invalid pose does not enter the tree
                pose = to_pose(item.transform)
                tree.put(item.header.frame_id, item.child_frame_id, pose, stamp)
        then()

    # A publisher may be volatile or transient local, best effort or reliable: each must be read.
    every = ros_topics.EVERY_PUBLISHER
    node.create_subscription(message_type, topics.TF, lambda m: take(m, False), every)
    for profile in (ros_topics.PROFILES[topics.DURABLE], every):
        node.create_subscription(message_type, topics.TF_STATIC, lambda m: take(m, True), profile)
    return tree
