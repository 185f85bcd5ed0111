"""Measures, from outside, how long after a picture its action and its command come."""

from __future__ import annotations

import json
from pathlib import Path
import sys
import time

from efm_core import ros_topics, topics
from efm_core.messages import to_stamp
from efm_core.ros_lifecycle import run
import numpy as np
from rclpy.node import Node

FILE = Path(sys.argv[1])
WATCHED = {'action': topics.ACTION, 'steps_to_go': topics.STEPS_TO_GO, 'command': topics.COMMAND}


class Observer(Node):
    """Note when each message of a stamp is seen."""

    def __init__(self):
        """Listen to robot_0."""
        super().__init__('observer', namespace='robot_0')
        self._seen = {name: {} for name in ('image', *WATCHED)}
        ros_topics.subscription(
            self, topics.IMAGE, lambda message: self._note('image', message), True
        )
        for name, topic in WATCHED.items():
            ros_topics.subscription(
                self, topic, lambda message, name=name: self._note(name, message)
            )

    def _note(self, name, message):
        self._seen[name][to_stamp(message)] = time.monotonic()

    def destroy_node(self):
        """Write what was seen."""
        figures = {}
        for name in WATCHED:
            delays = [
                1e3 * (at - self._seen['image'][stamp])
                for stamp, at in self._seen[name].items()
                if stamp in self._seen['image']
            ][100:]
            if delays:
                p50, p99 = np.percentile(delays, (50, 99))
                figures |= {f'image_to_{name}_p50_ms': p50, f'image_to_{name}_p99_ms': p99}
        FILE.write_text(json.dumps(figures))
        return super().destroy_node()


run(Observer, sys.argv[:1])
