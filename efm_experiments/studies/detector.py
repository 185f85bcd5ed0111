"""How often the robot is right about its own success, and how true its steps-to-go are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from efm_core.episode import Episode
from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_evaluation.metrics import detect, detect_per_episode
from efm_experiments.config import Setting, text_encoder, TINY
from efm_experiments.experiment import Experiment, Results, Table
from efm_experiments.plots import axes_of, COLOURS
from efm_experiments.table.demonstrations import demonstrations
from efm_experiments.table.evaluation import examine, figures, steps_left
from efm_experiments.table.practice import practise
from efm_experiments.table.report import COMMON, success_table
from efm_experiments.table.sft_cache import make_team, Team
from efm_trainer.dataset import compute_all_features, to_batch
from matplotlib.figure import Figure
import numpy as np
import torch

THRESHOLDS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
DWELLS = (1, 2, 3)
EDGES = (0, 2, 4, 6, 8, 10, 15, 20, 30, 61)  # of the reliability diagram [steps]
HORIZON = 10  # 'the goal is reached within this many steps' is judged for calibration
HELD_OUT = 50  # fresh demonstrations on which s is chosen
ANOTHER = 500  # the seed of these, above the run's own
ABOUT = f"""
The detector says success when d <= s on `dwell` observations in a row. An episode of evaluation
goes on for some steps after its goal was reached, so it may fire early, rightly or never.
Precision: of the episodes where it fires, the share at their goals at that moment. Recall: of
those that are at their goals then, or that reach them without its firing, the share where it
fired. False success: of all episodes, the share where it fires away from the goal. s is chosen by
the F1 on the last observations of {HELD_OUT} fresh demonstrations. Calibration: the predicted
probability that the goal is reached within {HORIZON} steps against how often it was.
{COMMON}"""


@dataclass(frozen=True)
class DetectorConfig:
    """All else."""

    setting: Setting = field(default_factory=Setting)


def cells(config: DetectorConfig) -> dict[str, Setting]:
    """Return practice that the detector ends, and practice that the truth ends."""
    base = config.setting
    return {'own detector': base, 'true ending': replace(base, ending='truth')}


def run_cell(setting: Setting, seed: int) -> dict:
    """Return figures of the detector on the policies before and after practice."""
    before = make_team(setting, seed)
    after, _ = practise(setting, before, seed)
    values = {'chosen_threshold': choose_threshold(setting, before, seed)}
    for word, team in (('before', before), ('after', after)):
        episodes = examine(setting, team, seed)
        values |= figures(episodes, setting, word) | grid(setting, episodes, word)
        values |= calibration(setting, team, episodes, word)
    return values


def grid(setting: Setting, episodes: list[Episode], word: str) -> dict[str, list]:
    """Return precision, recall and false success for every s (in the list) and dwell."""
    values = {}
    for dwell in DWELLS:
        rules = [
            replace(setting.embodiment.episode, success_threshold=s, success_dwell=dwell)
            for s in THRESHOLDS
        ]
        found = [detect_per_episode(episodes, rule) for rule in rules]
        plain = [one.to_plain() for one in found]
        for name in ('precision', 'recall'):
            values[f'{name}_{word}_{dwell}'] = [one[name] for one in plain]
        false = [one.false_positives / len(episodes) for one in found]
        values[f'false_success_{word}_{dwell}'] = false
    return values


def choose_threshold(setting: Setting, team: Team, seed: int) -> float:
    """Return the s of the best F1 on fresh demonstrations, whose last observations are true."""
    count = min(HELD_OUT, setting.demonstrations)
    robot = setting.embodiment
    fresh = demonstrations(count, seed + ANOTHER, setting.body, robot)
    d = torch.softmax(logits(team, fresh), dim=-1) @ torch.from_numpy(robot.steps_to_go.values)
    true = np.concatenate([np.arange(len(e), -1, -1) == 0 for e in fresh])
    found = [detect(d.numpy() <= s, true) for s in THRESHOLDS]
    scores = [2 * f.true_positives + f.false_positives + f.false_negatives for f in found]
    f1 = [2 * f.true_positives / max(n, 1) for f, n in zip(found, scores, strict=True)]
    return THRESHOLDS[int(np.argmax(f1))]


@torch.no_grad()
def logits(team: Team, episodes: list[Episode]) -> torch.Tensor:
    """Return the steps-to-go logits of every observation, ``(N, bins)``."""
    samples = to_batch(episodes, text_encoder())
    return team.reward.steps_to_go_logits(compute_all_features(team.reward, samples))


def calibration(
    setting: Setting, team: Team, episodes: list[Episode], word: str
) -> dict[str, object]:
    """Return reliability of d where the goal was reached, and of the distribution anywhere."""
    probabilities = torch.softmax(logits(team, episodes), dim=-1).numpy()
    scale = setting.embodiment.steps_to_go.values
    d = probabilities @ scale
    left = np.concatenate([steps_left(e) for e in episodes])
    soon = probabilities[:, scale <= HORIZON].sum(axis=1)
    before_goal = np.isfinite(left) & (left >= 0)
    failed = np.isinf(left)
    where = [np.digitize(d, EDGES) == k for k in range(1, len(EDGES))]
    judged = before_goal | failed
    return {
        f'left_{word}': [average(left[part & before_goal]) for part in where],
        f'count_{word}': [int((part & before_goal).sum()) for part in where],
        f'failed_{word}': [int((part & failed).sum()) for part in where],
        f'calibration_error_{word}': expected_error(soon[judged], left[judged] <= HORIZON),
    }


def average(numbers: np.ndarray) -> float | None:
    """Return the mean; None of nothing."""
    return round(float(numbers.mean()), 3) if len(numbers) else None


def expected_error(said: np.ndarray, true: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: ``|said - true|`` over bins of what was said."""
    where = np.minimum((said * bins).astype(int), bins - 1)
    gaps = [
        (where == k).mean() * abs(said[where == k].mean() - true[where == k].mean())
        for k in range(bins)
        if (where == k).any()
    ]
    return round(float(sum(gaps)), 4)


def summarise(results: Results) -> list[Table]:
    """Return precision, recall and false success by s and dwell, and calibration."""
    return [
        success_table(results, 'Success when the detector or the truth ends practice'),
        *(detector_table(results, word) for word in ('before', 'after')),
        calibration_table(results),
    ]


def detector_table(results: Results, word: str) -> Table:
    """Return the grid of the first cell."""
    rows = [
        [s, dwell, *(entry(results, f'{n}_{word}_{dwell}', k) for n in NAMES)]
        for dwell in DWELLS
        for k, s in enumerate(THRESHOLDS)
    ]
    head = ('s [steps]', 'dwell', 'precision [%]', 'recall [%]', 'false success [%]')
    return Table(f'The detector on the policy {word} practice', head, rows=rows)


NAMES = ('precision', 'recall', 'false_success')


def entry(results: Results, name: str, index: int) -> str:
    """Return one number of a list over seeds, where it is defined."""
    found = [values[index] for values in results.values(results.cells[0], name)]
    return rate_over_seeds([value for value in found if value is not None]).text(100)


def calibration_table(results: Results) -> Table:
    """Return calibration errors and the chosen s."""
    cell = results.cells[0]
    names = ('calibration_error_before', 'calibration_error_after', 'chosen_threshold')
    rows = [
        [n.replace('_', ' '), over_seeds(results.values(cell, n)).text(digits=3)] for n in names
    ]
    return Table('Calibration', ('', 'value'), rows=rows)


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
    left.set(xlabel='recall [%]', ylabel='precision [%]', title='after practice, by s')
    left.legend()
    middle = (np.array(EDGES[:-1]) + np.array(EDGES[1:])) / 2
    for k, word in enumerate(('before', 'after')):
        right.plot(middle, mean_of(results.values(cell, f'left_{word}')), 'o-', color=COLOURS[k])
        right.plot([], [], color=COLOURS[k], label=f'{word} practice')
    right.plot([0, 30], [0, 30], color='#d1d5db')
    right.set(xlabel='predicted steps to go', ylabel='true steps to go', title='when reached')
    right.legend()
    return {'detector': figure}


def mean_of(lists: list[list]) -> np.ndarray:
    """Return the mean over seeds of lists with holes; NaN where all have one."""
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
