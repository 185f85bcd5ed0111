"""
A camera, and whoever starts its episode, for a policy node in another process.

The other side is as of ``backends.py``: started by ``inference.py``, it answers with latencies,
from just before a picture is published to when its action is here.
"""

from __future__ import annotations

from pathlib import Path
import sys
import time

from backends import own_stdout, serve
from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_stamp
from efm_core.ros_lifecycle import make_executor
from efm_core.ros_messages import from_image, stamped
from efm_interfaces.msg import EpisodeEvent
import numpy as np
import rclpy
from rclpy.node import Node

NAMESPACE = 'robot_0'
PERIOD_NS = 100_000_000
WAIT_S = 60.0


class Camera(Node):
    """Shows pictures, one when the last was acted upon."""

    def __init__(self, folder: Path):
        """Connect the topics."""
        super().__init__('camera', namespace=NAMESPACE)
        self._robot = load_embodiment(folder / 'embodiment.yaml')
        self._instruction = (folder / 'instruction.txt').read_text()
        self._pictures = np.load(folder / 'pictures.npy')
        self._executor = make_executor()
        self._executor.add_node(self)
        self._images = ros_topics.publisher(self, topics.IMAGE, True)
        self._events = ros_topics.publisher(self, topics.EPISODE_EVENT)
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        self._stamp = PERIOD_NS
        self._acted = 0

    def begin(self) -> None:
        """Wait for the policy node, and begin an episode that does not end."""
        self._spin_until(
            lambda: self._images.get_subscription_count() and self._events.get_subscription_count()
        )
        event = EpisodeEvent(
            event=EpisodeEvent.START,
            episode_id='benchmark',
            kind='evaluation',
            instruction=self._instruction,
            embodiment_hash=self._robot.hash,
        )
        self._events.publish(stamped(event, self._stamp + PERIOD_NS))

    def show(self) -> None:
        """Publish a picture; return when its action has come."""
        self._stamp += PERIOD_NS
        picture = self._pictures[self._stamp // PERIOD_NS % len(self._pictures)]
        self._images.publish(from_image(picture, self._stamp))
        self._spin_until(lambda: self._acted == self._stamp)

    def _on_action(self, message) -> None:
        self._acted = to_stamp(message)

    def _spin_until(self, fact) -> None:
        end = time.monotonic() + WAIT_S
        while not fact():
            if time.monotonic() > end:
                raise TimeoutError(f'camera: expected the policy node within {WAIT_S} s')
            self._executor.spin_once(timeout_sec=0.2)


def main() -> None:
    """Show pictures as often as the other side asks."""
    answers = own_stdout()
    rclpy.init()
    camera = Camera(Path(sys.argv[1]))
    camera.begin()
    serve(camera.show, answers)
    camera.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
