"""
Success of a policy from MuJoCo in Gazebo Classic, before and after practice there.

All stages run through the node graph on a copy of a run: ``efm evaluate`` in MuJoCo and in Gazebo,
``efm practice`` in Gazebo, and ``efm evaluate`` in Gazebo again. The same command continues after
an interruption. The last line is one JSON object; ``transfer.json`` of the copy holds it too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import shlex
import shutil
import sys
import time
from typing import Any

from efm.demo import DemoStage, run_stage, write_json
from efm_core.embodiment import load_embodiment
from efm_core.files import whole_directory
from efm_evaluation.metrics import steps_to_goal, success_rate
from efm_evaluation.report import read_stage
from efm_release.release import find_release_directory

# Scenes that training does not use.
EVALUATION_SEED = 20_000_000
PRACTICE_SEED = 25_000_000
STAGES = (
    'mujoco',
    'gazebo_before',
    'practice',
    'gazebo_after',
)  # names of the stages and of their folders
PARTS = {  # files and folders of a run that are copied, without bags
    'stage_one': ('embodiment.yaml', 'sft'),
    'newest': ('embodiment.yaml', 'sft', 'releases', 'trainer'),
}


def main() -> None:
    """Run the unfinished stages; print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--run', type=Path, required=True, help='folder of a run with a release')
    parser.add_argument(
        '--to',
        type=Path,
        required=True,
        help='folder of the copy; an unfinished copy is continued',
    )
    parser.add_argument(
        '--begin',
        choices=('stage_one', 'newest'),
        default='stage_one',
        help='release to start from (default stage_one)',
    )
    parser.add_argument(
        '--evaluations', type=int, default=300, help='episodes of each evaluation (default 300)'
    )
    parser.add_argument(
        '--practice', type=int, default=304, help='practice episodes (default 304)'
    )
    parser.add_argument(
        '--fleet', type=int, default=2, help='robots, each with its own Gazebo (default 2)'
    )
    parser.add_argument(
        '--max-steps',
        type=int,
        default=0,
        help="time limit [steps]; 0 for the embodiment's (default)",
    )
    parser.add_argument(
        '--body', default='arm', choices=('arm', 'tool'), help='body of the robot (default arm)'
    )
    options = parser.parse_args()
    seconds = begin(options)
    for name, stage in plan_stages(options, int(seconds['version'])).items():
        command = stage.remaining_command(options.to)
        if not command:
            continue
        print(f'--- {name}', flush=True)
        started = time.monotonic()
        code = run_stage([sys.executable, '-m', 'efm.cli', *command])
        seconds[name] = round(seconds.get(name, 0) + time.monotonic() - started, 1)
        write_json(options.to / 'begun.json', seconds)
        if code:
            sys.exit(code)
    found = figures(options.to, seconds)
    write_json(options.to / 'transfer.json', found)
    print(json.dumps(found))


def begin(options: argparse.Namespace) -> dict[str, float]:
    """
    Return the policy version before practice, and the seconds of the stages so far.

    :raises FileExistsError: when the folder of the copy holds something else.
    :raises FileNotFoundError: when the run has no release.
    """
    begun = options.to / 'begun.json'
    if not options.to.exists():
        with whole_directory(options.to) as unfinished:
            version = copy_run(options.run, unfinished, options.begin)
            write_json(unfinished / 'begun.json', {'version': version})
    if not begun.is_file():
        raise FileExistsError(f'to: expected a new folder or an unfinished copy, got {options.to}')
    return json.loads(begun.read_text())


def copy_run(run: Path, to: Path, start: str) -> int:
    """Copy releases and training state into the folder ``to``; return the policy version."""
    number = 1 if start == 'stage_one' else 0
    release = find_release_directory(run, number)
    for part in PARTS[start]:
        source = run / part
        if source.is_dir():
            shutil.copytree(source, to / part)
        elif source.is_file():
            shutil.copyfile(source, to / part)
    return int(release.name)


def plan_stages(options: argparse.Namespace, version: int) -> dict[str, DemoStage]:
    """Return the release of stage 1, if it is missing, and the four stages."""
    common = f'--run {shlex.quote(str(options.to))} --fleet {options.fleet} --body {options.body}'
    common += f' --max-steps {options.max_steps}'
    evaluate = f'evaluate {common} --seed {EVALUATION_SEED}'
    practice = f'practice {common} --seed {PRACTICE_SEED}'
    mujoco, before, practised, after = STAGES
    plan = {
        mujoco: (f'{evaluate} --policy-version {version} --world mujoco', options.evaluations),
        before: (f'{evaluate} --policy-version {version} --world gazebo', options.evaluations),
        practised: (f'{practice} --world gazebo', options.practice),
        after: (f'{evaluate} --world gazebo', options.evaluations),
    }
    release = DemoStage(['train', '--run', str(options.to)], product='releases')
    return {'release': release} | {
        name: DemoStage(shlex.split(f'{words} --episodes-subdir {name}'), episodes, subdir=name)
        for name, (words, episodes) in plan.items()
    }


def figures(run: Path, seconds: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Return the reached success and the mean steps of each stage."""
    embodiment = load_embodiment(run / 'embodiment.yaml')
    found = {}
    for name in STAGES:
        episodes = read_stage(run / 'episodes' / name, embodiment).episodes
        steps = sum(map(steps_to_goal, episodes)) / max(len(episodes), 1)
        rate = success_rate(episodes).to_plain()
        found[name] = {**rate, 'mean_steps': round(steps, 1), 'seconds': seconds.get(name)}
    return found


if __name__ == '__main__':
    main()
