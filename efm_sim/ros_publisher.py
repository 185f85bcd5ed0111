"""The topics that the world node publishes."""

from __future__ import annotations

import dataclasses

from efm_core import ros_topics, topics
from efm_core.embodiment import Camera
from efm_core.ros_messages import from_camera_info, from_image, from_joints, from_ns, from_world
from efm_sim.world import PublishedWorld
import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_system_default
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


class WorldPublisher:
    """
    Publishes time, images, simulator truth and joints of a world, all with one stamp.

    :ivar clocks: publisher of ``clock``.
    :ivar infos: publishers of ``camera_info``, one for each camera.
    """

    def __init__(self, node: Node, cameras: tuple[Camera, ...], *, lockstep: bool):
        """Create the publishers on ``node``."""
        self._cameras = cameras
        rows = [dataclasses.replace(topics.IMAGE, name=camera.topic) for camera in cameras]
        self._images = [ros_topics.publisher(node, row, lockstep) for row in rows]
        self._joints = ros_topics.publisher(node, topics.JOINT_STATES, lockstep)
        self._states = ros_topics.publisher(node, topics.WORLD_STATE)
        self._endings = ros_topics.publisher(node, topics.TERMINATED)
        self.infos = [
            node.create_publisher(CameraInfo, name, qos_profile_system_default)
            for name in info_topics(cameras)
        ]
        self.clocks = node.create_publisher(Clock, 'clock', qos_profile_system_default)

    def publish(self, world: PublishedWorld, stamp: int) -> None:
        """
        Publish the present state of ``world``; ``stamp`` in ns.

        That the scene has ended comes before its images, and so before the answers to them.
        """
        self.clocks.publish(Clock(clock=from_ns(stamp)))
        if world.terminated():
            self._endings.publish(Header(stamp=from_ns(stamp)))
        cameras = zip(self._images, world.images(), self._cameras, strict=True)
        for publisher, image, camera in cameras:
            publisher.publish(from_image(image, stamp, camera.name))
        self._states.publish(
            from_world(
                world.positions(), world.success(), world.distance(), stamp, info=world.info()
            )
        )
        self._joints.publish(from_joints(world.state(), stamp))
        self._publish_infos(world, stamp)

    def _publish_infos(self, world: PublishedWorld, stamp: int) -> None:
        """Publish ``camera_info`` to those who subscribe it; only the first is calibrated."""
        for number, (publisher, camera) in enumerate(zip(self.infos, self._cameras, strict=True)):
            if publisher.get_subscription_count():
                matrix = np.zeros((3, 3)) if number else world.camera_matrix()
                size = {'height': camera.height, 'width': camera.width}
                publisher.publish(from_camera_info(matrix, **size, stamp=stamp, frame=camera.name))


def info_topics(cameras: tuple[Camera, ...]) -> list[str]:
    """
    Return the topic of each camera's ``camera_info``: beside its image, as image_transport has it.

    A camera whose namespace has one already gets it below the topic of its image.
    """
    names: list[str] = []
    for camera in cameras:
        beside = '/'.join([*camera.topic.split('/')[:-1], 'camera_info'])
        names.append(beside if beside not in names else f'{camera.topic}/camera_info')
    return names
