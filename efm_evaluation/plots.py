"""The pictures of a report; matplotlib draws them without a display."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
from pathlib import Path
from typing import Any

from efm_core.episode import Episode, Termination
from efm_evaluation.metrics import is_self_stopped, reached
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
import numpy as np

INK = '#1f2937'
FAINT = '#d1d5db'
BEFORE = '#94a3b8'
AFTER = '#0f766e'
DETECTED = '#d97706'
BAD = '#b91c1c'
WINDOW = 30  # episodes in a moving average
FEWEST = 8  # a mean of fewer is not drawn
FRAMES = 9  # of a film strip
MEASURES = {'self_stopped': 'self-stopped', 'reached': 'reached'}  # key, label
STYLE = {
    'font.size': 10.5,
    'text.color': INK,
    'axes.labelcolor': INK,
    'axes.edgecolor': FAINT,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.grid.axis': 'y',
    'axes.axisbelow': True,
    'axes.titlelocation': 'left',
    'axes.titlesize': 11.5,
    'grid.color': '#e5e7eb',
    'xtick.color': '#6b7280',
    'ytick.color': '#6b7280',
    'legend.frameon': False,
    'figure.dpi': 150,
    'savefig.bbox': 'tight',
}


@dataclass(frozen=True)
class FilmStrip:
    """
    One episode to draw: images above steps-to-go.

    :param title: ``success`` or ``failure``.
    :param frames: ``(T + 1, H, W, 3)`` uint8 RGB.
    :param steps_to_go: ``(T + 1,)`` float32 [steps].
    :param truth: ``(T + 1,)`` bool, or None where unknown.
    """

    title: str
    instruction: str
    _: KW_ONLY
    frames: np.ndarray
    steps_to_go: np.ndarray
    truth: np.ndarray | None


def plot_all(
    folder: Path, summary: dict[str, Any], practice: list[Episode], films: list[FilmStrip]
) -> dict[str, Path]:
    """Write each picture for which there is data; return name to file."""
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figures = {
            'success': plot_success(summary),
            'learning': plot_learning(practice),
            'traces': plot_traces(films, summary['detector']['threshold_steps']),
            'wall_clock': plot_wall_clock(summary['wall_clock_s']),
        }
        for name, figure in figures.items():
            if figure:
                figure.savefig(folder / f'{name}.png')
    return {name: folder / f'{name}.png' for name, figure in figures.items() if figure}


def plot_success(summary: dict[str, Any]) -> Figure | None:
    """Draw both measures of success before and after practice, with 95 % intervals."""
    stages = [('before practice', summary['success_before'], BEFORE)]
    stages += [('after practice', summary['success_after'], AFTER)]
    stages = [stage for stage in stages if stage[1]['reached']['episodes']]
    if not stages:
        return None
    figure = Figure(figsize=(6.2, 3.6))
    axes = figure.subplots()
    width = 0.8 / len(stages)
    bars = [
        (group + width * (place - (len(stages) - 1) / 2), success[measure], colour)
        for group, measure in enumerate(MEASURES)
        for place, (_, success, colour) in enumerate(stages)
    ]
    for x, rate, colour in bars:
        _bar(axes, x, 0.92 * width, rate, colour)
    counts = [f'{rate["successes"]} of {rate["episodes"]}' for _, rate, _ in bars]
    axes.set_xticks([x for x, _, _ in bars], counts)
    axes.tick_params(axis='x', length=0)
    for group, label in enumerate(MEASURES.values()):
        axes.annotate(label, (group, 0), xytext=(0, -32), textcoords='offset points', ha='center')
    axes.set(ylim=(0, 118), yticks=range(0, 101, 20), ylabel='successful episodes [%]')
    handles = [Patch(color=colour, label=name) for name, _, colour in stages]
    axes.legend(handles=handles, loc='upper left', bbox_to_anchor=(1.0, 1.0))
    return figure


def _bar(axes: Axes, x: float, width: float, rate: dict[str, Any], colour: str) -> None:
    """Draw one rate with its interval."""
    if not rate['episodes']:
        return
    value = 100 * rate['rate']
    low, high = (100 * end for end in rate['wilson_95'])
    axes.bar(x, value, width, color=colour)
    axes.errorbar(x, value, [[value - low], [high - value]], color=INK, capsize=5, linewidth=1.4)
    axes.annotate(f'{value:.0f} %', (x, high + 2), ha='center', va='bottom', weight='bold')


def plot_learning(practice: list[Episode]) -> Figure | None:
    """Draw detected, self-stopped and reached success, and steps over the practice episodes."""
    if len(practice) < 2:
        return None
    figure = Figure(figsize=(9.2, 5.0))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
    numbers = np.arange(1, len(practice) + 1)
    detected = [e.termination is Termination.SUCCESS_DETECTED for e in practice]
    _curve(upper, numbers, 100 * moving_average(detected), DETECTED, 'detected by the robot')
    stopped = [
        None if truth is None else is_self_stopped(truth, len(truth) - 1 if stops else None)
        for stops, truth in zip(detected, (e.true_success_per_step for e in practice), strict=True)
    ]
    _known_curve(upper, stopped, AFTER, 'self-stopped (simulator truth)')
    _known_curve(upper, [reached(e) for e in practice], BEFORE, 'reached (simulator truth)')
    upper.set(ylim=(0, 105), yticks=range(0, 101, 20), ylabel='success [%]')
    upper.set_title(f'Practice, mean of the last {WINDOW} episodes')
    upper.legend(loc='lower right')
    steps = [len(episode) for episode in practice]
    lower.plot(numbers, steps, '.', color=FAINT, markersize=4)
    _curve(lower, numbers, moving_average(steps), INK, '')
    lower.set(ylim=(0, max(steps) * 1.1), ylabel='steps', xlabel='practice episode')
    return figure


def moving_average(values: list, window: int = WINDOW) -> np.ndarray:
    """Return the mean of the last ``window`` values, fewer at the start, ``(N,)`` float64."""
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, np.float64))])
    last = np.arange(1, len(total))
    first = np.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)


def plot_traces(films: list[FilmStrip], threshold: float) -> Figure | None:
    """Draw for each film strip its images above its steps-to-go."""
    if not films:
        return None
    figure = Figure(figsize=(9.2, 4.1 * len(films)))
    parts = figure.subfigures(len(films), 1, squeeze=False)[:, 0]
    for part, film in zip(parts, films, strict=True):
        strip, trace = part.subplots(2, 1, height_ratios=(1, 1.5))
        _strip(strip, film)
        _trace(trace, film, threshold)
    return figure


def plot_wall_clock(seconds: dict[str, float]) -> Figure | None:
    """Draw the duration of each stage."""
    if not seconds:
        return None
    names = [name.replace('_', ' ') for name in seconds]
    figure = Figure(figsize=(9.2, 0.6 + 0.36 * len(names)))
    axes = figure.subplots()
    bars = axes.barh(names, list(seconds.values()), 0.62, color=AFTER)
    axes.bar_label(bars, [f'{value:.0f} s' for value in seconds.values()], padding=4)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines['bottom'].set_visible(False)
    axes.tick_params(axis='y', length=0, labelcolor=INK)
    return figure


def _known_curve(axes: Axes, hits: list[bool | None], colour: str, label: str) -> None:
    """Draw the moving average of the episodes whose truth is known."""
    numbers = np.array([n for n, hit in enumerate(hits, 1) if hit is not None])
    if len(numbers):
        average = moving_average([hit for hit in hits if hit is not None])
        _curve(axes, numbers, 100 * average, colour, label)


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str) -> None:
    axes.plot(x[FEWEST - 1 :], y[FEWEST - 1 :], color=colour, linewidth=2, label=label)


def _strip(axes: Axes, film: FilmStrip) -> None:
    """Draw evenly spaced frames of an episode side by side, with their steps below."""
    chosen = np.linspace(0, len(film.frames) - 1, FRAMES).round().astype(int)
    height, width = film.frames.shape[1:3]
    gap = max(1, width // 16)
    strip = np.full((height, FRAMES * (width + gap) - gap, 3), 255, np.uint8)
    for place, step in enumerate(chosen):
        strip[:, place * (width + gap) :][:, :width] = film.frames[step]
    axes.imshow(strip, interpolation='nearest', aspect='equal')
    centres = [place * (width + gap) + width / 2 for place in range(FRAMES)]
    axes.set_xticks(centres, [str(step) for step in chosen])
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(f'A {film.title}: “{film.instruction}”')


def _trace(axes: Axes, film: FilmStrip, threshold: float) -> None:
    """Draw steps-to-go over time, the threshold, and where the goal is reached by truth."""
    steps = np.arange(len(film.steps_to_go))
    colour = AFTER if film.title == 'success' else BAD
    axes.plot(steps, film.steps_to_go, color=colour, linewidth=2, marker='.', label='d(o, g)')
    axes.axhline(threshold, color=DETECTED, linestyle='--', linewidth=1.2, label='threshold s')
    if film.truth is not None and film.truth.any():
        top = max(film.steps_to_go.max() * 1.1, 4 * threshold)
        axes.fill_between(
            steps, 0, top, where=film.truth, step='mid', color=AFTER, alpha=0.12, label='true'
        )
    axes.set(xlim=(-0.5, steps[-1] + 0.5), xlabel='step', ylabel='steps to go')
    axes.set_ylim(0, max(film.steps_to_go.max() * 1.1, 4 * threshold))
    axes.legend(loc='lower right', bbox_to_anchor=(1.0, 0.97), ncols=3)
