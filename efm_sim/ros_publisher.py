"""The topics that the world node publishes."""

from __future__ import annotations

import dataclasses

from efm_core import ros_topics, topics
from efm_core.embodiment import Camera
from efm_core.ros_messages import from_camera_info, from_image, from_joints, from_ns, from_world
from efm_sim.world import PublishedWorld
from rclpy.node import Node
from rclpy.qos import qos_profile_system_default
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo


class WorldPublisher:
    """
    Publishes time, image, simulator truth and joints of a world.

    :ivar clocks: publisher of ``clock``.
    :ivar infos: publisher of ``camera_info``.
    """

    def __init__(self, node: Node, camera: Camera, *, lockstep: bool):
        """Create the publishers on ``node``."""
        self._camera = camera
        image = dataclasses.replace(topics.IMAGE, name=camera.topic)
        self._images = ros_topics.publisher(node, image, lockstep)
        self._joints = ros_topics.publisher(node, topics.JOINT_STATES, lockstep)
        self._states = ros_topics.publisher(node, topics.WORLD_STATE)
        self.infos = node.create_publisher(CameraInfo, 'camera_info', qos_profile_system_default)
        self.clocks = node.create_publisher(Clock, 'clock', qos_profile_system_default)

    def publish(self, world: PublishedWorld, stamp: int) -> None:
        """Publish the present state of ``world``; ``stamp`` in ns."""
        self.clocks.publish(Clock(clock=from_ns(stamp)))
        self._images.publish(from_image(world.images()[0], stamp, self._camera.name))
        self._states.publish(
            from_world(world.positions(), world.success(), world.distance(), stamp)
        )
        self._joints.publish(from_joints(world.state(), stamp))
        if self.infos.get_subscription_count():
            self.infos.publish(self._camera_info(world, stamp))

    def _camera_info(self, world: PublishedWorld, stamp: int) -> CameraInfo:
        camera = self._camera
        return from_camera_info(
            world.camera_matrix(),
            height=camera.height,
            width=camera.width,
            stamp=stamp,
            frame=camera.name,
        )
