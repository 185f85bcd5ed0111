"""Precision, recall and calibration of the success detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from efm_core.episode import Episode
from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_evaluation.metrics import detect, detect_per_episode
from efm_experiments.config import ExperimentConfig, text_encoder, TINY
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.plots import axes_of, COLOURS
from efm_experiments.table.demonstrations import demonstrations
from efm_experiments.table.evaluation import evaluate_policy, success_values, true_steps_to_go
from efm_experiments.table.practice import practise
from efm_experiments.table.report import COMMON, success_table
from efm_experiments.table.sft_cache import make_model_pair, ModelPair
from efm_trainer.dataset import compute_all_features, to_batch
from matplotlib.figure import Figure
import numpy as np
import torch

THRESHOLDS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)  # s [steps]
DWELLS = (1, 2, 3)
EDGES = (0, 2, 4, 6, 8, 10, 15, 20, 30, 61)  # bins of the reliability diagram [steps]
HORIZON = 10  # calibration: probability that the goal is reached within this many steps
HELD_OUT = 50  # demonstrations on which s is chosen
SEED_OFFSET = 500  # between the seed of a run and the seed of its held-out demonstrations
RATES = ('precision', 'recall', 'false_success')
ABOUT = f"""
The success detector fires when d <= s on `dwell` consecutive observations. An evaluation episode
continues for some steps after its goal, so that the detector may fire early, in time or never.

- **Precision**: of the episodes in which the detector fires, the share at the goal at that
  moment.
- **Recall**: of the episodes that are at the goal when the detector fires, or that reach the
  goal without a detection, the share with a detection.
- **False success**: of all episodes, the share in which the detector fires away from the goal.
- **Chosen s**: the s with the best F1 on the last observations of {HELD_OUT} held-out
  demonstrations.
- **Calibration error**: predicted probability of the goal within {HORIZON} steps against its
  frequency, as the expected calibration error over ten bins.

The stored episodes end six steps after the goal. A later detection counts as missed, so that
recall is a lower bound. New runs go on until 60 steps at least.
{COMMON}"""


@dataclass(frozen=True)
class DetectorConfig:
    """Configuration that all cells share."""

    base: ExperimentConfig = field(default_factory=ExperimentConfig)


def cells(config: DetectorConfig) -> dict[str, ExperimentConfig]:
    """Return practice whose episodes the detector ends, and practice that the simulator ends."""
    base = config.base
    return {
        'ended by the detector': base,
        'ended by the simulator': replace(base, practice_end='simulator'),
    }


def run_cell(config: ExperimentConfig, seed: int) -> dict[str, Any]:
    """Return the rates of the detector on the policies before and after practice."""
    before = make_model_pair(config, seed)
    after, _ = practise(config, before, seed)
    values: dict[str, Any] = {'chosen_threshold': choose_threshold(config, before, seed)}
    for phase, models in (('before', before), ('after', after)):
        episodes = evaluate_policy(config, models, seed)
        values |= success_values(episodes, config, phase)
        values |= rates_grid(config, episodes, phase)
        values |= calibration(config, models, episodes, phase)
    return values


def rates_grid(
    config: ExperimentConfig, episodes: Sequence[Episode], phase: str
) -> dict[str, list[Any]]:
    """Return precision, recall and false success for each dwell, as lists over s."""
    values: dict[str, list[Any]] = {}
    for dwell in DWELLS:
        rules = [
            replace(config.embodiment.episode, success_threshold=s, success_dwell=dwell)
            for s in THRESHOLDS
        ]
        found = [detect_per_episode(episodes, rule) for rule in rules]
        plain = [one.to_plain() for one in found]
        for name in ('precision', 'recall'):
            values[f'{name}_{phase}_{dwell}'] = [one[name] for one in plain]
        false = [one.false_positives / len(episodes) for one in found]
        values[f'false_success_{phase}_{dwell}'] = false
    return values


def choose_threshold(config: ExperimentConfig, models: ModelPair, seed: int) -> float:
    """Return the s with the best F1 on the last observations of held-out demonstrations."""
    count = min(HELD_OUT, config.demonstrations)
    robot = config.embodiment
    fresh = demonstrations(count, seed + SEED_OFFSET, config.body, robot)
    values = torch.from_numpy(robot.steps_to_go.values)
    d = torch.softmax(steps_to_go_logits(models, fresh), dim=-1) @ values
    true = np.concatenate([np.arange(len(e), -1, -1) == 0 for e in fresh])
    found = [detect((d.numpy() <= s).tolist(), true.tolist()) for s in THRESHOLDS]
    scores = [2 * f.true_positives + f.false_positives + f.false_negatives for f in found]
    f1 = [2 * f.true_positives / max(n, 1) for f, n in zip(found, scores, strict=True)]
    return THRESHOLDS[int(np.argmax(f1))]


@torch.no_grad()
def steps_to_go_logits(models: ModelPair, episodes: Sequence[Episode]) -> torch.Tensor:
    """Return the steps-to-go logits of every observation, ``(N, C)``."""
    samples = to_batch(list(episodes), text_encoder())
    return models.reward.steps_to_go_logits(compute_all_features(models.reward, samples))


def calibration(
    config: ExperimentConfig, models: ModelPair, episodes: Sequence[Episode], phase: str
) -> dict[str, Any]:
    """Return the reliability of d before reached goals, and the calibration error."""
    probabilities = torch.softmax(steps_to_go_logits(models, episodes), dim=-1).numpy()
    scale = config.embodiment.steps_to_go.values
    d = probabilities @ scale
    left = np.concatenate([true_steps_to_go(e) for e in episodes])
    soon = probabilities[:, scale <= HORIZON].sum(axis=1)
    before_goal = np.isfinite(left) & (left >= 0)
    failed = np.isinf(left)
    bins = [np.digitize(d, EDGES) == k for k in range(1, len(EDGES))]
    used = before_goal | failed
    return {
        f'left_{phase}': [mean_or_none(left[part & before_goal]) for part in bins],
        f'count_{phase}': [int((part & before_goal).sum()) for part in bins],
        f'failed_{phase}': [int((part & failed).sum()) for part in bins],
        f'calibration_error_{phase}': calibration_error(soon[used], left[used] <= HORIZON),
    }


def mean_or_none(numbers: np.ndarray) -> float | None:
    """Return the mean, rounded to three digits; None of an empty array."""
    return round(float(numbers.mean()), 3) if len(numbers) else None


def calibration_error(predicted: np.ndarray, true: np.ndarray, bins: int = 10) -> float:
    """
    Return the expected calibration error.

    :param predicted: probabilities, ``(N,)``.
    :param true: outcomes, ``(N,)`` bool.
    """
    where = np.minimum((predicted * bins).astype(int), bins - 1)
    gaps = [
        (where == k).mean() * abs(predicted[where == k].mean() - true[where == k].mean())
        for k in range(bins)
        if (where == k).any()
    ]
    return round(float(sum(gaps)), 4)


def summarise(results: Results) -> list[ResultTable]:
    """Return success, the detector's rates by s and dwell, and calibration."""
    return [
        success_table(
            results, 'Success before and after practice, by the end of practice episodes'
        ),
        *(detector_table(results, phase) for phase in ('before', 'after')),
        calibration_table(results),
    ]


def detector_table(results: Results, phase: str) -> ResultTable:
    """Return the detector's rates in the first cell."""
    rows = [
        [s, dwell, *(rate_text(results, f'{name}_{phase}_{dwell}', k) for name in RATES)]
        for dwell in DWELLS
        for k, s in enumerate(THRESHOLDS)
    ]
    header = ('s [steps]', 'dwell', 'precision [%]', 'recall [%]', 'false success [% of all]')
    return ResultTable(f'The detector on the policy {phase} practice', header, rows=rows)


def rate_text(results: Results, name: str, index: int) -> str:
    """Return entry ``index`` of a list over the seeds in which it is defined, as text."""
    found = [values[index] for values in results.values(results.cells[0], name)]
    return rate_over_seeds([value for value in found if value is not None]).text(100)


def calibration_table(results: Results) -> ResultTable:
    """Return calibration errors and the chosen s."""
    cell = results.cells[0]
    rows = [
        [title, over_seeds(results.values(cell, name)).text(digits=3)]
        for title, name in (
            ('calibration error before practice', 'calibration_error_before'),
            ('calibration error after practice', 'calibration_error_after'),
            ('chosen s [steps]', 'chosen_threshold'),
        )
    ]
    return ResultTable('Calibration, and s chosen by F1', ('quantity', 'value'), rows=rows)


def plot(results: Results) -> dict[str, Figure]:
    """Draw precision against recall, and the reliability of d."""
    figure, (left, right) = axes_of(2)
    cell = results.cells[0]
    for k, dwell in enumerate(DWELLS):
        recall, precision = (
            100 * mean_of(results.values(cell, f'{name}_after_{dwell}'))
            for name in ('recall', 'precision')
        )
        left.plot(recall, precision, 'o-', color=COLOURS[k], label=f'dwell {dwell}')
    left.set(xlabel='recall [%]', ylabel='precision [%]', title='after practice; one dot per s')
    left.legend()
    middle = (np.array(EDGES[:-1]) + np.array(EDGES[1:])) / 2
    for k, phase in enumerate(('before', 'after')):
        found = mean_of(results.values(cell, f'left_{phase}'))
        right.plot(middle, found, 'o-', color=COLOURS[k], label=f'{phase} practice')
    right.plot([0, 30], [0, 30], color='#d1d5db')
    right.set(xlabel='predicted d [steps]', ylabel='true steps to go', title='reached goals')
    right.legend()
    return {'detector': figure}


def mean_of(lists: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Return the mean over seeds of lists with missing entries; NaN if all are missing."""
    found = np.ma.masked_invalid(np.array(lists, np.float64))
    return found.mean(axis=0).filled(np.nan)


EXPERIMENT = Experiment(
    name='detector',
    title='The success detector',
    about=ABOUT,
    config=DetectorConfig(),
    smoke=DetectorConfig(replace(TINY, curve=())),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
