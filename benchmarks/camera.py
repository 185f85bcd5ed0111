"""
A camera for a policy node in another process; ``inference.py`` starts it.

It also starts the episode. Input and output are those of ``backends.py``. A latency is the time
from the publication of an image to the arrival of its action.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys
import time

from backends import claim_stdout, serve
from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_stamp
from efm_core.ros_lifecycle import make_executor
from efm_core.ros_messages import from_image, stamped
from efm_interfaces.msg import Action, EpisodeEvent
import numpy as np
import rclpy
from rclpy.node import Node

NAMESPACE = 'robot_0'
PERIOD_NS = 100_000_000
WAIT_S = 60.0


class Camera(Node):
    """Publishes an image as soon as the action for the last one has arrived."""

    def __init__(self, folder: Path):
        """Create publishers and subscriptions."""
        super().__init__('camera', namespace=NAMESPACE)
        self._robot = load_embodiment(folder / 'embodiment.yaml')
        self._instruction = (folder / 'instruction.txt').read_text()
        self._frames = np.load(folder / 'frames.npy')
        self._executor = make_executor()
        self._executor.add_node(self)
        self._publisher = ros_topics.publisher(self, topics.IMAGE, True)
        self._events = ros_topics.publisher(self, topics.EPISODE_EVENT)
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        self._stamp = PERIOD_NS
        self._answered = 0

    def begin(self) -> None:
        """Wait for the policy node; then start an episode that does not end."""
        self._spin_until(
            lambda: (
                self._publisher.get_subscription_count() and self._events.get_subscription_count()
            )
        )
        event = EpisodeEvent(
            event=EpisodeEvent.START,
            episode_id='benchmark',
            kind='evaluation',
            instruction=self._instruction,
            embodiment_hash=self._robot.hash,
        )
        self._events.publish(stamped(event, self._stamp + PERIOD_NS))

    def publish_and_wait(self) -> None:
        """Publish an image; return when its action has arrived."""
        self._stamp += PERIOD_NS
        image = self._frames[self._stamp // PERIOD_NS % len(self._frames)]
        self._publisher.publish(from_image(image, self._stamp))
        self._spin_until(lambda: self._answered == self._stamp)

    def _on_action(self, message: Action) -> None:
        self._answered = to_stamp(message)

    def _spin_until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(
                    f'camera: expected the policy node within {WAIT_S} s, got no answer'
                )
            self._executor.spin_once(timeout_sec=0.2)


def main() -> None:
    """Publish images as often as standard input requests."""
    output = claim_stdout()
    rclpy.init()
    camera = Camera(Path(sys.argv[1]))
    camera.begin()
    serve(camera.publish_and_wait, output)
    camera.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
