"""Drawing functions that several experiments use."""

from __future__ import annotations

from collections.abc import Sequence

from efm_evaluation.intervals import Estimate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import ArrayLike

COLOURS = ('#0f766e', '#d97706', '#4f46e5', '#b91c1c', '#64748b', '#a21caf', '#0284c7', '#65a30d')


def axes_of(count: int, width: float = 4.4) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``count`` axes side by side, each ``width`` inches wide."""
    figure = Figure(figsize=(width * count, 0.75 * 4.4), layout='constrained')
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def band(
    axes: Axes, x: Sequence[float] | np.ndarray, runs: ArrayLike, label: str, colour: str = ''
) -> None:
    """
    Draw the mean over seeds, and shade the range between the lowest and the highest seed.

    :param x: ``(points,)``.
    :param runs: ``(seeds, points)``.
    """
    values = np.asarray(runs, np.float64)
    colour = colour or COLOURS[0]
    axes.plot(x, values.mean(axis=0), color=colour, label=label)
    if len(values) > 1:
        low = values.min(axis=0)
        axes.fill_between(x, low, values.max(axis=0), color=colour, alpha=0.18, lw=0)


def bars(axes: Axes, estimates: dict[str, Estimate], scale: float = 100) -> None:
    """
    Draw one horizontal bar for each estimate with its interval, from top to bottom.

    An estimate without a mean has no bar but the words ``not stored``.
    """
    for y, (name, estimate) in enumerate(estimates.items()):
        axes.text(0, y - 0.33, name, va='bottom', fontsize=8)
        if np.isnan(estimate.mean):
            axes.annotate(' not stored', (0, y), va='center', fontsize=8)
            continue
        mean, low, high = (scale * value for value in estimate.ends)
        error = None if np.isnan(low) else [[mean - low], [high - mean]]
        axes.barh(y, mean, 0.6, xerr=error, color=COLOURS[y % len(COLOURS)], capsize=3)
        axes.annotate(f' {mean:.0f}', (mean if error is None else high, y), va='center')
    axes.set(yticks=[], ylim=(len(estimates) - 0.4, -0.7))
