"""
What a run achieved: ``report.html`` with its pictures, and ``summary.json``.

Read are ``episodes/<stage>/`` (bags), ``stages.json`` (wall-clock seconds of each stage) and
``embodiment.yaml``. What is not there is left out of the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY, replace
from datetime import datetime, timezone
from importlib import metadata
import json
from pathlib import Path
import platform
import subprocess

from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode import Episode, Outcome
from efm_core.episode_rules import EpisodeRules
from efm_core.files import write_whole
from efm_data.episodes import find_bags, read_all
from efm_evaluation.metrics import (
    detect_per_episode,
    detect_per_frame,
    has_steps_to_go,
    Proportion,
    reached,
    steps_to_goal,
    success_rate,
    success_when_ended,
)
from efm_evaluation.page import write_page
from efm_evaluation.plots import Film, plot_all
import numpy as np

JUDGED_STAGES = ('evaluation_before', 'practice', 'evaluation_after')
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
class Stage:
    """
    The episodes of one stage, in order, without their pictures.

    :param examples: a success and a failure with pictures, by those words.
    :param unreadable: bags that could not be read.
    """

    episodes: list[Episode] = field(default_factory=list)
    examples: dict[str, Episode] = field(default_factory=dict)
    _: KW_ONLY
    unreadable: int = 0


def write_report(run_dir: str | Path, embodiment: Embodiment | None = None) -> Path:
    """
    Write ``summary.json``, ``report.html`` and its pictures into ``run_dir``; return the page.

    :param embodiment: of the run; ``embodiment.yaml`` in the run directory if not given.
    :raises FileNotFoundError: when there is no such directory.
    """
    run = Path(run_dir)
    if not run.is_dir():
        raise FileNotFoundError(f'report: expected a run directory, got {run}')
    embodiment = embodiment or load_embodiment(run / 'embodiment.yaml')
    stages = {name: read_stage(run / 'episodes' / name, embodiment) for name in JUDGED_STAGES}
    summary = summarise(run, stages, embodiment)
    write_whole(run / 'summary.json', json.dumps(summary, indent=1, allow_nan=False) + '\n')
    films = [_film(word, episode) for word, episode in choose_examples(stages).items()]
    pictures = plot_all(run / 'pictures', summary, stages['practice'].episodes, films)
    return write_page(run / 'report.html', summary, pictures)


def read_stage(folder: Path, embodiment: Embodiment) -> Stage:
    """Return the episodes of one stage; nothing when it was not run."""
    stage = Stage()
    for bag in find_bags(folder) if folder.is_dir() else ():
        try:
            episodes = read_all(bag, embodiment)
        except ValueError:
            stage.unreadable += 1
            continue
        for episode in episodes:
            _keep_example(stage, episode)
            stage.episodes.append(without_pictures(episode))
    stage.episodes.sort(key=lambda episode: episode.index)
    return stage


def without_pictures(episode: Episode) -> Episode:
    """Return the episode with empty observations; thousands of them fit into memory."""
    return replace(episode, observations=np.zeros((len(episode) + 1, 0), np.uint8))


def summarise(run: Path, stages: dict[str, Stage], embodiment: Embodiment) -> dict:
    """Return the figures of the report, as JSON holds them."""
    before, practice, after = (stages[name].episodes for name in JUDGED_STAGES)
    rates = {'before': success_rate(before), 'after': success_rate(after)}
    rules = embodiment.episode
    threshold = rules.success_threshold
    judged = {'practice': practice, 'evaluation_after': after}
    per_episode = detect_per_episode([*practice, *after], rules).to_plain()
    return {
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'run': run.resolve().name,
        'success_before': _rate(rates['before'], before, rules),
        'success_after': _rate(rates['after'], after, rules),
        'intervals_are_disjoint': are_disjoint(rates['before'], rates['after']),
        'episodes_demonstrated': _count_demonstrations(run),
        'episodes_practised': len(practice),
        'steps_practised': sum(len(episode) for episode in practice),
        'policy_versions': len({episode.policy_version for episode in practice}),
        'unreadable_bags': sum(stage.unreadable for stage in stages.values()),
        'detector': {
            'precision': per_episode['precision'],
            'recall': per_episode['recall'],
            'per_episode': {n: detect_per_episode(e, rules).to_plain() for n, e in judged.items()},
            'per_frame': {n: detect_per_frame(e, threshold).to_plain() for n, e in judged.items()},
            'threshold_steps': threshold,
            'dwell': embodiment.episode.success_dwell,
        },
        'wall_clock_s': read_json(run / 'stages.json'),
        'embodiment': {'name': embodiment.name, 'hash': embodiment.hash},
        'commit': find_commit(),
        'versions': find_versions(),
    }


def are_disjoint(before: Proportion, after: Proportion) -> bool:
    """Return whether success after lies above success before beyond both 95 % intervals."""
    return bool(before.episodes and after.episodes and after.interval[0] > before.interval[1])


def read_json(path: Path) -> dict:
    """Return what a JSON file holds; nothing without the file."""
    return json.loads(path.read_text()) if path.is_file() else {}


def find_commit() -> str:
    """Return the commit this program was run from, with a plus sign if files differ from it."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        command = ['git', '-C', str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git('rev-parse', 'HEAD') + ('+' if git('status', '--porcelain', '-uno') else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def find_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter, where installed."""
    found = {'python': platform.python_version(), 'machine': platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _rate(rate: Proportion, episodes: list[Episode], rules: EpisodeRules) -> dict:
    """
    Return one success rate: the goal was reached within the time limit.

    ``at_end`` counts success at the last observation, ``when_detected`` success at the moment at
    which the robot's own detector ends the episode (at the last one if it does not).
    """
    steps = [steps_to_goal(episode) for episode in episodes]
    plain = rate.to_plain()
    return {
        **plain,
        'rate': plain['rate'] if rate.episodes else None,
        'at_end': sum(bool(episode.true_success) for episode in episodes),
        'when_detected': success_when_ended(episodes, rules),
        'mean_steps': float(np.mean(steps)) if steps else None,
    }


def _count_demonstrations(run: Path) -> int:
    """Return how many demonstrations succeeded, which are those that teach; else how many are."""
    results = run / 'results' / 'demonstration.jsonl'
    folder = run / 'episodes' / 'demonstration'
    if results.is_file():
        lines = map(json.loads, results.read_text().splitlines())
        return sum(line['outcome'] == Outcome.SUCCESS.value for line in lines)
    return len(find_bags(folder)) if folder.is_dir() else 0


def _keep_example(stage: Stage, episode: Episode) -> None:
    """Keep the last judged success and the last failure that are long enough to show."""
    if len(episode) < SHORTEST_FILM or not has_steps_to_go(episode):
        return
    if episode.outcome is Outcome.SUCCESS and reached(episode):
        stage.examples['success'] = episode
    elif episode.outcome is Outcome.FAILURE and not reached(episode):
        stage.examples['failure'] = episode


def choose_examples(stages: dict[str, Stage]) -> dict[str, Episode]:
    """Return a success and a failure; of practice first, where the detector ends episodes."""
    found: dict[str, Episode] = {}
    for name in ('practice', 'evaluation_after', 'evaluation_before'):
        found = {**stages[name].examples, **found}
    return {word: found[word] for word in ('success', 'failure') if word in found}


def _film(word: str, episode: Episode) -> Film:
    return Film(
        word,
        episode.instruction,
        frames=episode.observations,
        steps_to_go=episode.steps_to_go,
        truth=episode.true_success_per_step,
    )
