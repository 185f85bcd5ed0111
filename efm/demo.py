"""The main job, start to end: demonstrate, fine-tune, evaluate, practise, evaluate, report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, KW_ONLY
import json
from pathlib import Path
import shlex
import signal
import subprocess
import sys
import time

from efm_bringup.config import GraphConfig
from efm_bringup.progress import Results
from efm_core.config import config, copy_field, parameter
from efm_core.files import write_whole
from rich.console import Console

# apart from those of the demonstrations
EVALUATION_SEED = 10_000_000
PRACTICE_SEED = 5_000_000
STOP_WAIT_S = 8.0  # for a stage that was asked to stop
DEMONSTRATION = 'demonstration'


@config
class DemoConfig:
    """Size of the demonstration of the whole loop."""

    run: str = parameter('runs/demo', 'Directory of the run; an unfinished run is continued')
    num_robots: int = copy_field(GraphConfig, 'num_robots')
    demonstrations: int = parameter(
        400, 'Number of successful demonstrations', 'episodes', 2, 100000
    )
    demonstration_steps: int = parameter(60, 'Time limit of a demonstration', 'steps', 1, 10000)
    iterations: int = parameter(12000, 'Optimiser steps of stage 1', '', 1, 10000000)
    practice: int = parameter(240, 'Number of practice episodes', 'episodes', 1, 1000000)
    evaluations: int = parameter(
        300, 'Number of episodes in each evaluation', 'episodes', 1, 100000
    )
    body: str = copy_field(GraphConfig, 'body')
    preset: str = copy_field(GraphConfig, 'preset')
    seed: int = parameter(0, 'Seed of all stages', '', 0, 1000000)


@dataclass(frozen=True)
class Stage:
    """
    One command of the plan.

    :param words: the command line, without the number of episodes.
    :param episodes: how many there shall be in the end; 0 for a command that runs none.
    :param folder: of the bags and the results.
    :param product: what is in the run when it is done, if that can be seen.
    """

    words: list[str]
    episodes: int = 0
    _: KW_ONLY
    folder: str = ''
    product: str = ''

    def command(self, run: Path) -> list[str]:
        """Return the command for what is left of it; empty when nothing is."""
        if not self.episodes:
            return [] if self.product and (run / self.product).exists() else self.words
        results = Results(
            run / 'results' / f'{self.folder}.jsonl', self.folder == DEMONSTRATION, is_new=False
        )
        results.read()
        left = self.episodes - results.counted
        return [*self.words, '--episodes', str(left)] if left > 0 else []


def plan_stages(config: DemoConfig) -> dict[str, Stage]:
    """Return every stage, in order."""
    run = f'--run {shlex.quote(config.run)}'
    world = f'{run} --fleet {config.num_robots} --body {config.body}'
    evaluate = f'evaluate {world} --seed {EVALUATION_SEED + config.seed}'
    record = f'record {world} --seed {100_000 * config.seed}'
    practice = f'practice {world} --seed {PRACTICE_SEED + 100_000 * config.seed}'
    before = 'evaluation_before'
    after = 'evaluation_after'
    return {
        'record': Stage(
            shlex.split(f'{record} --max-steps {config.demonstration_steps}'),
            config.demonstrations,
            folder=DEMONSTRATION,
        ),
        'fine_tune': Stage(
            shlex.split(f'train {run} --iterations {config.iterations} --seed {config.seed}'),
            product='releases',
        ),
        'evaluate_before': Stage(
            shlex.split(f'{evaluate} --policy-version 1 --episodes-subdir {before}'),
            config.evaluations,
            folder=before,
        ),
        'practise': Stage(
            shlex.split(f'{practice} --preset {config.preset}'), config.practice, folder='practice'
        ),
        'evaluate_after': Stage(
            shlex.split(f'{evaluate} --episodes-subdir {after}'), config.evaluations, folder=after
        ),
        'report': Stage(shlex.split(f'report {run}')),
    }


def run_demo(config: DemoConfig, console: Console) -> int:
    """
    Run every stage that is not done yet; return the exit code of the first that fails.

    The wall-clock seconds of each finished stage stand in ``stages.json``.

    :raises ValueError: when the run was begun with other options.
    """
    run = Path(config.run)
    done = begin(run, config)
    if done:
        console.print(f'going on with {run}; remove it to start anew', soft_wrap=True)
    plan = plan_stages(config)
    for number, (name, stage) in enumerate(plan.items(), 1):
        if name in done and name != 'report':
            console.print(f'[dim]{number}/{len(plan)} {name}: done in {done[name]:.0f} s[/dim]')
            continue
        console.rule(f'{number}/{len(plan)} {name.replace("_", " ")}')
        started = time.monotonic()
        command = stage.command(run)
        code = run_stage([sys.executable, '-m', 'efm.cli', *command]) if command else 0
        if code:
            console.print(f'[red]{name} ended with code {code}[/red]; logs: {run / "logs"}')
            return code
        done[name] = round(time.monotonic() - started, 1)
        write_json(run / 'stages.json', done)
    return 0


def begin(run: Path, config: DemoConfig) -> dict[str, float]:
    """
    Return the seconds of the stages that are done, and note what the run was begun with.

    :raises ValueError: when it was begun with other options.
    """
    run.mkdir(parents=True, exist_ok=True)
    options = run / 'demo.json'
    noted = asdict(config)
    if not options.is_file():
        write_json(options, noted)
    former = json.loads(options.read_text())
    differing = [name for name, value in noted.items() if former.get(name) != value]
    if differing:
        raise ValueError(
            f'{", ".join(differing)}: expected as {run} was begun, '
            f'{[former.get(name) for name in differing]}, got '
            f'{[noted[name] for name in differing]}; take another --run'
        )
    stages = run / 'stages.json'
    return json.loads(stages.read_text()) if stages.is_file() else {}


def write_json(path: Path, value: dict) -> None:
    """Write a JSON file, whole or not at all."""
    write_whole(path, json.dumps(value, indent=1))


def run_stage(command: list[str]) -> int:
    """Run one command; hand it the signals that ask to stop, and wait until it has."""
    process = subprocess.Popen(command)
    asked: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        asked.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while process.poll() is None and not asked:
            time.sleep(0.1)
        return process.wait(STOP_WAIT_S if asked else None) or (130 if asked else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
