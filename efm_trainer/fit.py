"""Signs that stage 1 had too few demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST = 50  # demonstrations; with fewer, hardly any task was learned from images alone
# [nats] A task that was learned to 96 % had a gap of 1.5, one of the harder tasks 2.1.
LARGEST_GAP = 2.0
POINTS = 3  # last points of the curve, over which losses are averaged
NAMES = {'action': 'actions', 'steps_to_go': 'steps-to-go'}


def find_doubts(curve: Sequence[dict[str, float]], demonstrations: int) -> list[str]:
    """
    Return one sentence for each sign; none if the demonstrations seem enough.

    :param curve: losses at each validation, as in ``curve.json``.
    :param demonstrations: number of training demonstrations.
    """
    found = []
    if demonstrations < FEWEST:
        found.append(
            f'{demonstrations} training demonstrations are few: expected {FEWEST} or more'
        )
    for objective, name in NAMES.items():
        training, held_out = (
            float(np.mean([point[f'{part}/{objective}'] for point in curve[-POINTS:]]))
            for part in ('training', 'validation')
        )
        if held_out - training > LARGEST_GAP:
            found.append(
                f'{name}: the loss on held-out demonstrations is {held_out:.1f}, on training '
                f'demonstrations {training:.1f}: the model memorises them; record more'
            )
    return found
