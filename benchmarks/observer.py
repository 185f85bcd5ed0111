"""Measures the delay from an image to its action and its command, outside of the nodes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
import sys
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.messages import to_stamp
from efm_core.ros_lifecycle import run
import numpy as np
from rclpy.node import Node

FILE = Path(sys.argv[1])
WATCHED = {'action': topics.ACTION, 'steps_to_go': topics.STEPS_TO_GO, 'command': topics.COMMAND}


class Observer(Node):
    """Notes the arrival of each message by its stamp."""

    def __init__(self) -> None:
        """Subscribe to the topics of robot_0."""
        super().__init__('observer', namespace='robot_0')
        self._arrivals: dict[str, dict[int, float]] = {name: {} for name in ('image', *WATCHED)}
        ros_topics.subscription(self, topics.IMAGE, functools.partial(self._note, 'image'), True)
        for name, topic in WATCHED.items():
            ros_topics.subscription(self, topic, functools.partial(self._note, name))

    def _note(self, name: str, message: Any) -> None:
        self._arrivals[name][to_stamp(message)] = time.monotonic()

    def destroy_node(self) -> Any:
        """Write the delays to the file."""
        figures: dict[str, float] = {}
        for name in WATCHED:
            delays = [
                1e3 * (at - self._arrivals['image'][stamp])
                for stamp, at in self._arrivals[name].items()
                if stamp in self._arrivals['image']
            ][100:]
            if delays:
                p50, p99 = np.percentile(delays, (50, 99))
                figures |= {f'image_to_{name}_p50_ms': p50, f'image_to_{name}_p99_ms': p99}
        FILE.write_text(json.dumps(figures))
        return super().destroy_node()


run(Observer, sys.argv[:1])
