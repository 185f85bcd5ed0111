"""
Which actions a robot executed. No other file states this rule.

The guard publishes each action that it executes, with the stamp at which the action was due. An
action that it rejects has no such message. A chunk was executed if any of its control steps was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


def due_stamps(stamp: int, steps: int, period: int) -> tuple[int, ...]:
    """
    Return when each control step of an action is due [ns].

    :param stamp: of the observation that the action is for [ns].
    :param steps: number of control steps.
    :param period: time between them [ns]; 0: none is known, and all are due at ``stamp``.
    """
    return tuple(range(stamp, stamp + steps * period, period)) if period else (stamp,)


def executed_stamps(
    stamps: Iterable[int], due: Mapping[int, Iterable[int]], sent: Collection[int]
) -> list[int]:
    """
    Return the stamps of the observations whose action was executed [ns].

    :param stamps: of observations [ns].
    :param due: when the control steps of the action for each stamp are due [ns]; by default at
        the stamp.
    :param sent: stamps of what the guard sent [ns].
    """
    return [stamp for stamp in stamps if any(at in sent for at in due.get(stamp, (stamp,)))]
