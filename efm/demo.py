"""The command `efm demo`: demonstrate, fine-tune, evaluate, practise, evaluate, report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, KW_ONLY
import json
from pathlib import Path
import shlex
import subprocess
import sys
import time
from typing import Any

from efm_bringup.config import GraphConfig
from efm_bringup.progress import ResultsTail
from efm_core.config import config, copy_field, parameter
from efm_core.files import write_whole
from efm_core.stop_signals import on_stop, restore
from rich.console import Console

# First seeds; those of the demonstrations start at 0.
EVALUATION_SEED = 10_000_000
PRACTICE_SEED = 5_000_000
STOP_TIMEOUT_S = 8.0  # from the signal to a stage until it is killed
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
    min_precision: float = copy_field(GraphConfig, 'min_precision')
    seed: int = parameter(0, 'Seed of all stages', '', 0, 1000000)


@dataclass(frozen=True)
class DemoStage:
    """
    One command of the demo.

    :param arguments: of the command `efm`, without the number of episodes.
    :param episodes: requested number of episodes; 0 for a command that runs none.
    :param subdir: folder of its bags inside ``episodes``, and name of its results file.
    :param product: file or folder in the run that exists when the command is done; empty for none.
    """

    arguments: list[str]
    episodes: int = 0
    _: KW_ONLY
    subdir: str = ''
    product: str = ''

    def remaining_command(self, run: Path) -> list[str]:
        """Return the arguments for the rest of the stage; empty when it is complete."""
        if not self.episodes:
            return [] if self.product and (run / self.product).exists() else self.arguments
        results = ResultsTail(
            run / 'results' / f'{self.subdir}.jsonl', self.subdir == DEMONSTRATION, is_new=False
        )
        results.read()
        remaining = self.episodes - results.counted
        counts_itself = self.arguments[0] == 'evaluate'  # those of a named evaluation
        number = self.episodes if counts_itself else remaining
        return [*self.arguments, '--episodes', str(number)] if remaining > 0 else []


def plan_stages(config: DemoConfig) -> dict[str, DemoStage]:
    """Return all stages, in order."""
    run = f'--run {shlex.quote(config.run)}'
    world = f'{run} --fleet {config.num_robots} --body {config.body}'
    evaluate = f'evaluate {world} --seed {EVALUATION_SEED + config.seed}'
    record = f'record {world} --seed {100_000 * config.seed}'
    practice = f'practice {world} --seed {PRACTICE_SEED + 100_000 * config.seed}'
    before = 'evaluation_before'
    after = 'evaluation_after'
    return {
        'record': DemoStage(
            shlex.split(f'{record} --max-steps {config.demonstration_steps}'),
            config.demonstrations,
            subdir=DEMONSTRATION,
        ),
        'fine_tune': DemoStage(
            shlex.split(f'train {run} --iterations {config.iterations} --seed {config.seed}'),
            product='releases',
        ),
        'evaluate_before': DemoStage(
            shlex.split(f'{evaluate} --policy-version 1 --episodes-subdir {before}'),
            config.evaluations,
            subdir=before,
        ),
        'practise': DemoStage(
            shlex.split(
                f'{practice} --preset {config.preset} --min-precision {config.min_precision}'
            ),
            config.practice,
            subdir='practice',
        ),
        'evaluate_after': DemoStage(
            shlex.split(f'{evaluate} --episodes-subdir {after}'), config.evaluations, subdir=after
        ),
        'report': DemoStage(shlex.split(f'report {run}')),
    }


def run_demo(config: DemoConfig, console: Console) -> int:
    """
    Run all stages that are not done; return the exit code of the first one that fails, or 0.

    ``stages.json`` gets the wall-clock seconds of each finished stage.

    :raises ValueError: when the run was started with other options.
    """
    run = Path(config.run)
    done = open_demo(run, config)
    if done:
        console.print(f'continuing {run}; remove it to start again', soft_wrap=True)
    plan = plan_stages(config)
    for number, (name, stage) in enumerate(plan.items(), 1):
        if name in done and name != 'report':
            console.print(f'[dim]{number}/{len(plan)} {name}: done in {done[name]:.0f} s[/dim]')
            continue
        console.rule(f'{number}/{len(plan)} {name.replace("_", " ")}')
        started = time.monotonic()
        command = stage.remaining_command(run)
        code = run_stage([sys.executable, '-m', 'efm.cli', *command]) if command else 0
        if code:
            console.print(f'[red]{name} failed with code {code}[/red]; logs: {run / "logs"}')
            return code
        done[name] = round(time.monotonic() - started, 1)
        write_json(run / 'stages.json', done)
    return 0


def open_demo(run: Path, config: DemoConfig) -> dict[str, float]:
    """
    Write the options of a new run into it; return the seconds of the stages that are done.

    :raises ValueError: when the run was started with other options.
    """
    path = run / 'demo.json'
    options = asdict(config)
    if not path.is_file():
        write_json(path, options)
    former = json.loads(path.read_text())
    differing = [name for name, value in options.items() if former.get(name) != value]
    if differing:
        raise ValueError(
            f'{", ".join(differing)}: expected the options of {run}, '
            f'{[former.get(name) for name in differing]}, got '
            f'{[options[name] for name in differing]}; use another --run'
        )
    stages = run / 'stages.json'
    seconds: dict[str, float] = json.loads(stages.read_text()) if stages.is_file() else {}
    return seconds


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_whole(path, json.dumps(value, indent=1))


def run_stage(command: list[str]) -> int:
    """Run one command and pass SIGINT, SIGTERM and SIGHUP on to it; return its exit code."""
    process = subprocess.Popen(command)
    signals: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        signals.append(number)
        process.send_signal(number)

    before = on_stop(pass_on)
    try:
        while process.poll() is None and not signals:
            time.sleep(0.1)
        return process.wait(STOP_TIMEOUT_S if signals else None) or (130 if signals else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        return 130
    finally:
        restore(before)
