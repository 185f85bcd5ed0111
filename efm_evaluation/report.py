"""
The result of a run: ``report.html`` with its pictures, and ``summary.json``.

The report reads ``episodes/<stage>/`` (bags), ``stages.json`` (wall-clock seconds of each stage)
and ``embodiment.yaml``. It leaves out the parts that a run does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from datetime import datetime, timezone
from importlib import metadata
import json
from pathlib import Path
import platform
import subprocess
from typing import Any

from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode import Episode, Outcome
from efm_core.episode_rules import is_void
from efm_core.files import write_whole
from efm_core.observation import Observation
from efm_data.episodes import find_bags, read_all
from efm_data.labels import LabelFile, operator_label, summarise_labels
from efm_evaluation.metrics import (
    detect_per_episode,
    detect_per_frame,
    evaluate,
    Evaluation,
    has_steps_to_go,
    Proportion,
    reached,
)
from efm_evaluation.page import write_page
from efm_evaluation.plots import FilmStrip, plot_all
import numpy as np

REPORTED_STAGES = ('evaluation_before', 'practice', 'evaluation_after')
LIBRARIES = (
    'numpy',
    'opencv-python-headless',
    'onnxruntime',
    'torch',
    'mujoco',
    'rosbags',
    'tokenizers',
    'ros-jazzy-rclpy',
)
SHORTEST_FILM = 6  # actions


@dataclass
class StageEpisodes:
    """
    The episodes of one stage, in order, without their images.

    :param examples: one episode with images for each of ``success`` and ``failure``.
    :param void: number of episodes that a fault or a person ended; they count nowhere else.
    :param unreadable: number of bags that could not be read.
    """

    episodes: list[Episode] = field(default_factory=list)
    examples: dict[str, Episode] = field(default_factory=dict)
    _: KW_ONLY
    void: int = 0
    unreadable: int = 0


def write_report(run_dir: str | Path, embodiment: Embodiment | None = None) -> Path:
    """
    Write ``summary.json``, ``report.html`` and its pictures into ``run_dir``; return the page.

    :param embodiment: of the run; None reads ``embodiment.yaml`` of the run directory.
    :raises FileNotFoundError: when there is no such directory.
    """
    run = Path(run_dir)
    if not run.is_dir():
        raise FileNotFoundError(f'report: expected a run directory, got {run}')
    embodiment = embodiment or load_embodiment(run / 'embodiment.yaml')
    stages = {name: read_stage(run / 'episodes' / name, embodiment) for name in REPORTED_STAGES}
    summary = summarise(run, stages, embodiment)
    write_whole(run / 'summary.json', json.dumps(summary, indent=1, allow_nan=False) + '\n')
    films = [_film_strip(word, episode) for word, episode in choose_examples(stages).items()]
    pictures = plot_all(run / 'pictures', summary, stages['practice'].episodes, films)
    return write_page(run / 'report.html', summary, pictures)


def read_stage(folder: Path, embodiment: Embodiment) -> StageEpisodes:
    """Return the episodes of one stage; none when there is no such folder."""
    stage = StageEpisodes()
    for bag in find_bags(folder) if folder.is_dir() else ():
        try:
            episodes = read_all(bag, embodiment)
        except ValueError:
            stage.unreadable += 1
            continue
        valid = [e for e in episodes if not is_void(e.outcome, e.termination)]
        stage.void += len(episodes) - len(valid)
        for episode in valid:
            _keep_example(stage, episode)
            stage.episodes.append(without_images(episode))
    stage.episodes.sort(key=lambda episode: episode.index)
    return stage


def without_images(episode: Episode) -> Episode:
    """Return the episode with empty observations, so that thousands fit into memory."""
    nothing = Observation((), np.zeros((len(episode) + 1, 0), np.float32))
    return replace(episode, observations=nothing)


def summarise(
    run: Path, stages: dict[str, StageEpisodes], embodiment: Embodiment
) -> dict[str, Any]:
    """Return the figures of the report, as JSON holds them."""
    before, practice, after = (stages[name].episodes for name in REPORTED_STAGES)
    success_before = evaluate(before, embodiment)
    success_after = evaluate(after, embodiment)
    return {
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'run': run.resolve().name,
        'success_before': _to_plain(success_before, before),
        'success_after': _to_plain(success_after, after),
        'intervals_are_disjoint': are_disjoint(
            success_before.self_stopped, success_after.self_stopped
        ),
        'episodes_demonstrated': _count_demonstrations(run),
        'episodes_practised': len(practice),
        'steps_practised': sum(len(episode) for episode in practice),
        'policy_versions': len({episode.policy_version for episode in practice}),
        'void_episodes': sum(stage.void for stage in stages.values()),
        'unreadable_bags': sum(stage.unreadable for stage in stages.values()),
        'labels': _summarise_labels(run, stages),
        'detector': _summarise_detector(practice, after, embodiment),
        'wall_clock_s': read_json(run / 'stages.json'),
        'embodiment': {'name': embodiment.name, 'hash': embodiment.hash},
        'commit': find_commit(),
        'versions': find_versions(),
    }


def _to_plain(success: Evaluation, episodes: list[Episode]) -> dict[str, Any]:
    """
    Return the success of one evaluation as JSON holds it.

    ``at_last_observation`` counts episodes whose goal is reached at their last observation.
    """
    return {
        'self_stopped': success.self_stopped.to_plain(),
        'reached': success.reached.to_plain(),
        'at_last_observation': sum(bool(episode.true_success) for episode in episodes),
        'mean_steps': success.mean_steps if episodes else None,
    }


def describe_success(summary: dict[str, Any]) -> list[str]:
    """Return one line for each evaluation that a summary has."""
    return [
        f'{word} practice: self-stopped {_to_text(success["self_stopped"])}, '
        f'reached {_to_text(success["reached"])}, {success["mean_steps"]:.1f} steps'
        for word in ('before', 'after')
        if (success := summary[f'success_{word}'])['reached']['episodes']
    ]


def _to_text(plain: dict[str, Any]) -> str:
    return str(Proportion(plain['successes'], plain['episodes']))


def _summarise_detector(
    practice: list[Episode], after: list[Episode], embodiment: Embodiment
) -> dict[str, Any]:
    """Return how the success detector compares with the truth, in two stages."""
    rules = embodiment.episode
    stages = {'practice': practice, 'evaluation_after': after}
    overall = detect_per_episode([*practice, *after], rules).to_plain()
    return {
        'precision': overall['precision'],
        'recall': overall['recall'],
        'per_episode': {
            name: detect_per_episode(episodes, rules).to_plain()
            for name, episodes in stages.items()
        },
        'per_frame': {
            name: detect_per_frame(episodes, rules.success_threshold).to_plain()
            for name, episodes in stages.items()
        },
        'threshold_steps': rules.success_threshold,
        'dwell': rules.success_dwell,
    }


def _summarise_labels(run: Path, stages: dict[str, StageEpisodes]) -> dict[str, Any]:
    """Return the counts of a person's labels of attempts, and the minutes that they took."""
    by_operator = [
        operator_label(name, episode) for name in stages for episode in stages[name].episodes
    ]
    summary = summarise_labels(LabelFile(run).read(), filter(None, by_operator))
    return {
        'labelled': summary.labelled,
        'successes': summary.successes,
        'by_operator': summary.by_operator,
        'minutes': summary.seconds / 60,
    }


def are_disjoint(before: Proportion, after: Proportion) -> bool:
    """Return whether ``after`` is higher than ``before`` and their 95 % intervals are disjoint."""
    return bool(before.episodes and after.episodes and after.interval[0] > before.interval[1])


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; an empty dictionary without the file."""
    return json.loads(path.read_text()) if path.is_file() else {}


def find_commit(*but: str) -> str:
    """
    Return the commit of the source tree, with a plus sign if tracked files differ from it.

    :param but: paths in the tree whose changes do not count.
    """
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        command = ['git', '-C', str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    paths = ['.', *(f':(exclude){path}' for path in but)]
    try:
        changed = git('status', '--porcelain', '-uno', '--', *paths)
        return git('rev-parse', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def find_versions() -> dict[str, str]:
    """Return the versions of Python, the machine and the installed libraries of the list."""
    found = {'python': platform.python_version(), 'machine': platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _count_demonstrations(run: Path) -> int:
    """Return the number of successful demonstrations; of all bags where no result was written."""
    results = run / 'results' / 'demonstration.jsonl'
    folder = run / 'episodes' / 'demonstration'
    if results.is_file():
        lines = map(json.loads, results.read_text().splitlines())
        return sum(line['outcome'] == Outcome.SUCCESS.value for line in lines)
    return len(find_bags(folder)) if folder.is_dir() else 0


def _keep_example(stage: StageEpisodes, episode: Episode) -> None:
    """Keep the last success and the last failure with steps-to-go that are long enough to show."""
    if len(episode) < SHORTEST_FILM or not has_steps_to_go(episode):
        return
    if episode.outcome is Outcome.SUCCESS and reached(episode):
        stage.examples['success'] = episode
    elif episode.outcome is Outcome.FAILURE and not reached(episode):
        stage.examples['failure'] = episode


def choose_examples(stages: dict[str, StageEpisodes]) -> dict[str, Episode]:
    """Return a success and a failure, preferably of practice, where the detector ends episodes."""
    found: dict[str, Episode] = {}
    for name in ('practice', 'evaluation_after', 'evaluation_before'):
        found = {**stages[name].examples, **found}
    return {word: found[word] for word in ('success', 'failure') if word in found}


def _film_strip(word: str, episode: Episode) -> FilmStrip:
    return FilmStrip(
        word,
        episode.instruction,
        frames=episode.observations.images[0],
        steps_to_go=episode.steps_to_go,
        truth=episode.true_success_per_step,
    )
