"""
What a policy that learned in MuJoCo is worth in Gazebo Classic, before and after practice there.

``efm evaluate`` in MuJoCo and in Gazebo, ``efm practice`` in Gazebo, ``efm evaluate`` in Gazebo
again, all through the node graph, on a copy of a run that has a release. Last line: one JSON
object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import shutil
import sys

from efm_bringup.demo import run_stage
from efm_bringup.graph import GraphConfig, release_directory
from efm_bringup.report import read_stage
from efm_core.embodiment import load_embodiment
from efm_trainer.evaluation import steps_to_goal, success_rate

EVALUATION_SEED, PRACTICE_SEED = 20_000_000, 25_000_000  # apart from those of training
PARTS = ('embodiment.yaml', 'sft', 'releases', 'trainer')  # of a run, without its bags


def main() -> None:
    """Run the four stages, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--run', type=Path, required=True, help='a run with a release')
    parser.add_argument('--to', type=Path, required=True, help='folder of the copy; a new one')
    parser.add_argument('--evaluations', type=int, default=100, help='episodes each time')
    parser.add_argument('--practice', type=int, default=304, help='episodes')
    parser.add_argument('--fleet', type=int, default=2, help='robots, each with its Gazebo')
    parser.add_argument('--max-steps', type=int, default=0, help="0 for the embodiment's")
    parser.add_argument('--body', default='arm', choices=('arm', 'tool'))
    options = parser.parse_args()
    version = copy_run(options.run, options.to)
    for words in stages(options, version):
        code = run_stage([sys.executable, '-m', 'efm_bringup.cli', *words])
        if code:
            sys.exit(code)
    print(json.dumps(figures(options.to)))


def copy_run(run: Path, to: Path) -> int:
    """
    Copy what acts and learns, without the bags; return the version that acts.

    :raises FileExistsError: when there is a run already.
    :raises FileNotFoundError: when there is no release.
    """
    version = int(release_directory(GraphConfig(run=str(run))).name)
    to.mkdir(parents=True)
    for part in PARTS:
        source = run / part
        if source.is_dir():
            shutil.copytree(source, to / part)
        elif source.is_file():
            shutil.copyfile(source, to / part)
    return version


def stages(options: argparse.Namespace, version: int) -> list[list[str]]:
    """Return the words of the four commands."""
    common = ['--run', options.to, '--fleet', options.fleet, '--body', options.body]
    common += ['--max-steps', options.max_steps]
    evaluate = ['evaluate', *common, '--seed', EVALUATION_SEED, '--episodes', options.evaluations]
    before = [*evaluate, '--version', version]
    practice = ['practice', *common, '--seed', PRACTICE_SEED, '--episodes', options.practice]
    words = [
        [*before, '--world', 'mujoco', '--folder', 'mujoco'],
        [*before, '--world', 'gazebo', '--folder', 'gazebo_before'],
        [*practice, '--world', 'gazebo', '--folder', 'gazebo_practice'],
        [*evaluate, '--world', 'gazebo', '--folder', 'gazebo_after'],
    ]
    return [[str(word) for word in line] for line in words]


def figures(run: Path) -> dict[str, dict]:
    """Return each stage's success by the truth: the goal was reached within the time limit."""
    embodiment = load_embodiment(run / 'embodiment.yaml')
    found = {}
    for name in ('mujoco', 'gazebo_before', 'gazebo_practice', 'gazebo_after'):
        episodes = read_stage(run / 'episodes' / name, embodiment).episodes
        steps = sum(map(steps_to_goal, episodes)) / max(len(episodes), 1)
        found[name] = {**success_rate(episodes).to_plain(), 'mean_steps': round(steps, 1)}
    return found


if __name__ == '__main__':
    main()
