"""What a node says of its health."""

from __future__ import annotations

from efm_core.ros_diagnostics import Diagnostics


def test_refusals_that_differ_only_in_what_came_are_of_one_kind(stage):
    diagnostics = Diagnostics(stage.peer)
    for value in ('nan', '0.3', '0.4'):
        diagnostics.count_dropped(f'action: expected finite numbers [m], got {value}')
    diagnostics.count_dropped('stale')
    assert diagnostics.counts == {'action: expected finite numbers [m]': 3, 'stale': 1}
