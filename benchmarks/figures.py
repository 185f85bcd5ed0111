"""Statistics of latencies, and Markdown tables of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rounds = Sequence[Sequence[float]]  # the latencies of each round [s]


def percentiles(rounds: Rounds) -> dict[str, float]:
    """Return the median and the 99th percentile over all rounds [ms]."""
    p50, p99 = 1e3 * np.percentile(np.concatenate([np.asarray(r) for r in rounds]), (50, 99))
    return {'p50': float(p50), 'p99': float(p99)}


def ratio(slow: Rounds, fast: Rounds, percentile: float = 50) -> dict[str, float]:
    """
    Return the ratio of two latencies within each round: median, smallest and largest.

    Both were measured in turns, so that each round of both ran under the same load.

    :param percentile: of the latencies of a round.
    """
    above, below = (
        np.array([np.percentile(r, percentile) for r in rounds]) for rounds in (slow, fast)
    )
    found = above / below
    return {
        'median': float(np.median(found)),
        'low': float(found.min()),
        'high': float(found.max()),
    }


def spread(found: dict[str, float] | None) -> str:
    """Return a ratio with its smallest and largest value, as text."""
    if found is None:
        return 'none'
    return f'{found["median"]:.2f} ({found["low"]:.2f} to {found["high"]:.2f})'


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(str(cell) for cell in line)} |' for line in lines)


def same_tokens(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the share of observations with equal tokens; arguments are ``(N, K)``."""
    return float((expected == found).all(axis=1).mean())


def divergence(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """
    Return KL(expected || found) of each token's distribution, ``(N, K)`` [nats].

    :param expected: logits, ``(N, K, V)``; ``found`` likewise.
    """
    p, q = (
        logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        for logits in (expected.astype(np.float64), found.astype(np.float64))
    )
    return (np.exp(p) * (p - q)).sum(axis=-1)
