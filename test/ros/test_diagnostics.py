"""What a node says of its health."""

from __future__ import annotations

from efm_core.ros_diagnostics import Diagnostics


def test_refusals_that_differ_only_in_what_came_are_of_one_kind(stage):
    health = Diagnostics(stage.peer)
    for value in ('nan', '0.3', '0.4'):
        health.drop(f'action: expected finite numbers [m], got {value}')
    health.drop('stale')
    assert health.counts == {'action: expected finite numbers [m]': 3, 'stale': 1}
