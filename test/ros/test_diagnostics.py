"""The diagnostics of a node."""

from __future__ import annotations

from efm_core.ros_diagnostics import Diagnostics


def test_dropped_samples_that_differ_only_in_their_value_are_one_kind(stage):
    diagnostics = Diagnostics(stage.peer)
    for value in ('nan', '0.3', '0.4'):
        diagnostics.count_dropped(f'action: expected finite numbers [m], got {value}')
    diagnostics.count_dropped('stale')
    assert diagnostics.counts == {'action: expected finite numbers [m]': 3, 'stale': 1}
