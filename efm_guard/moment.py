"""One moment on the two clocks of the guard."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """
    One moment on two clocks.

    Stamps are compared with ``ros`` only. Durations, such as the watchdog, the rest of a permit
    and the time since the last command, are measured with ``steady`` only: that clock neither
    jumps nor stands still.

    :param ros: clock of the node, simulated with ``use_sim_time`` [ns].
    :param steady: monotonic clock of the host [ns].
    """

    ros: int
    steady: int
