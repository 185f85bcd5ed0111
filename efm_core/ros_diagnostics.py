"""The diagnostics of a node on ``/diagnostics``: rate, latency, drops, versions (REP 107)."""

from __future__ import annotations

from collections import Counter, deque
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from efm_core import ros_topics, topics
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node


class Diagnostics:
    """
    Counts the samples of a node, and publishes a report each period.

    :param period_s: period of the reports [s].
    :ivar latencies: processing time of the last 1000 samples [s].
    :ivar counts: events by name; dropped samples are named by their reason.
    :ivar newest: the newest reason of each kind of dropped sample, in full.
    :ivar values: other entries of the report.
    :ivar fault: reason why the node does not work; '' if it works.
    """

    def __init__(self, node: Node, period_s: float = 1.0):
        self._node = node
        self._publisher = ros_topics.publisher(node, topics.DIAGNOSTICS)
        self.latencies: deque[float] = deque(maxlen=1000)
        self.counts: Counter[str] = Counter()
        self.newest: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self._processed = 0
        self._last_report = time.monotonic()
        self.fault = ''
        node.create_timer(period_s, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def count_processed(self, started: float) -> None:
        """Count one processed sample; its processing began at ``started`` [s, monotonic]."""
        self.latencies.append(time.monotonic() - started)
        self._processed += 1

    def count_dropped(self, reason: str) -> None:
        """
        Count one dropped sample, and log the first of each kind.

        The kind is the reason up to ``, got``: without the value, so that each kind has one count.
        """
        kind = reason.split(', got ')[0]
        if not self.counts[kind]:
            self._node.get_logger().warning(reason)
        self.counts[kind] += 1
        self.newest[kind] = reason

    def report(self) -> None:
        """Publish the report; the rate is that since the last report."""
        now = time.monotonic()
        rate = self._processed / max(now - self._last_report, 1e-6)
        self._processed = 0
        self._last_report = now
        values = {
            'rate_hz': f'{rate:.1f}',
            **self._latency(),
            **self.values,
            **{f'count: {key}': str(count) for key, count in self.counts.items()},
            **{f'newest: {key}': reason for key, reason in self.newest.items() if reason != key},
        }
        level = DiagnosticStatus.ERROR if self.fault else DiagnosticStatus.OK
        status = DiagnosticStatus(
            level=level,
            name=self._node.get_fully_qualified_name(),
            message=self.fault or 'ok',
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _latency(self) -> dict[str, str]:
        if not self.latencies:
            return {}
        p50, p99 = 1e3 * np.percentile(self.latencies, (50, 99))
        return {'latency_p50_ms': f'{p50:.2f}', 'latency_p99_ms': f'{p99:.2f}'}
