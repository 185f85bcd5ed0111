"""The stage of test/ros, and the figures of a run: cases by level and result."""

from __future__ import annotations

from collections import Counter

from ros.conftest import context, make_event, shelf, stage, yaml_of

__all__ = ['context', 'make_event', 'shelf', 'stage', 'yaml_of']


def pytest_terminal_summary(terminalreporter):
    """Print how many cases ran, and what became of them."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get('passed', []):
        counts.update(dict(getattr(report, 'user_properties', [])))
    for name, count in sorted(counts.items()):
        terminalreporter.write_line(f'{name}: {count}')
