"""
The alarm of practice: the success detector fires more often, and a second opinion agrees less.

A policy that learns to satisfy its detector makes the detector fire more often. A second reward
model, which gave no reward, does not follow. The simulator's success is never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, KW_ONLY
from typing import Any

import scipy  # it loads scipy.stats, which takes a second, at the first use

DETECTIONS = 30  # in each of the two groups of updates that are compared, at least
LARGEST_P = 0.01
HINT = (
    'The policy may have learned to satisfy the detector. Look at the last episodes, label '
    'attempts of this policy with `efm label` and train the reward model again with `efm train '
    '--fine-tuning NAME --reward-only`. --on-alarm continue goes on with practice'
)


@dataclass(frozen=True)
class Agreement:
    """
    The detections of some updates.

    :param episodes: number of practice episodes.
    :param fired: number of them that the robot's detector ended as a success.
    :param agreed: number of these that the second reward model calls a success too.
    """

    episodes: int = 0
    _: KW_ONLY
    fired: int = 0
    agreed: int = 0

    def __str__(self) -> str:
        """Return both rates in words."""
        return (
            f'fired in {self.fired} of {self.episodes} episodes, the second reward model agreed '
            f'with {self.agreed}'
        )


def gather(updates: Iterable[Mapping[str, Any]]) -> Agreement:
    """Return the detections of updates, up to the first ``DETECTIONS`` or a few more."""
    found = Agreement()
    for line in updates:
        if found.fired >= DETECTIONS:
            break
        found = Agreement(
            found.episodes + line['episodes'],
            fired=found.fired + line['fired'],
            agreed=found.agreed + line['second_agrees'],
        )
    return found


def find_alarm(updates: Sequence[Mapping[str, Any]]) -> str:
    """
    Return why practice should stop; '' if it need not.

    The last updates with ``DETECTIONS`` detections are compared with the first ones. The alarm is
    raised when the detector fires in a larger part of the episodes, and the agreement is smaller
    by Fisher's exact test, one-sided, with p below ``LARGEST_P``. The test is repeated after each
    update, so that false alarms are somewhat more frequent than this p.

    :param updates: lines of ``metrics.jsonl``, oldest first; those without ``second_agrees`` do
        not count.
    """
    known = [line for line in updates if 'second_agrees' in line]
    first = gather(known)
    last = gather(reversed(known))
    total = sum(line['fired'] for line in known)
    if min(first.fired, last.fired) < DETECTIONS or first.fired + last.fired > total:
        return ''
    p = scipy.stats.fisher_exact(
        [[group.agreed, group.fired - group.agreed] for group in (last, first)], 'less'
    ).pvalue
    grew = last.fired * first.episodes > first.fired * last.episodes
    if not grew or p >= LARGEST_P:
        return ''
    return f'detector: at first it {first}; now it {last} (p = {p:.1g}). {HINT}'
