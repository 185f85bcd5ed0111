"""The main job, start to end: demonstrate, fine-tune, evaluate, practise, evaluate, report."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
import signal
import subprocess
import sys
import time

from efm_core.config import check, parameter
from rich.console import Console

EVALUATION_SEED, PRACTICE_SEED = 10_000_000, 5_000_000  # apart from those of the demonstrations
STOP_WAIT_S = 8.0


@dataclass(frozen=True)
class DemoConfig:
    """How large the demonstration of the whole loop is."""

    run: str = parameter('runs/demo', 'Directory of the run; an unfinished one is gone on with')
    fleet: int = parameter(2, 'Robots', 'robots', 1, 8)
    demonstrations: int = parameter(400, 'Successful demonstrations', 'episodes', 2, 100000)
    demonstration_steps: int = parameter(
        60, 'Actions before a demonstration is given up', 'steps', 1, 10000
    )
    iterations: int = parameter(6000, 'Steps of fine-tuning', '', 1, 10000000)
    practice: int = parameter(304, 'Practice episodes', 'episodes', 1, 1000000)
    evaluations: int = parameter(300, 'Episodes of each evaluation', 'episodes', 1, 100000)
    body: str = parameter('arm', 'What carries the tool in simulation', choices=('arm', 'tool'))
    preset: str = parameter('default', 'Numbers of stage 2', choices=('default', 'paper'))
    seed: int = parameter(0, 'Of everything', '', 0, 1000000)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


def stages(config: DemoConfig) -> dict[str, list[str]]:
    """Return every stage and its command line."""
    world = ['--run', config.run, '--fleet', config.fleet, '--body', config.body]
    evaluate = [
        'evaluate',
        *world,
        '--episodes',
        config.evaluations,
        '--seed',
        EVALUATION_SEED + config.seed,
    ]
    plan = {
        'record': [
            'record',
            *world,
            '--episodes',
            config.demonstrations,
            '--seed',
            100_000 * config.seed,
            '--max-steps',
            config.demonstration_steps,
        ],
        'fine_tune': [
            'train',
            '--run',
            config.run,
            '--iterations',
            config.iterations,
            '--seed',
            config.seed,
        ],
        'evaluate_before': [*evaluate, '--version', 1, '--folder', 'evaluation_before'],
        'practise': [
            'practice',
            *world,
            '--episodes',
            config.practice,
            '--preset',
            config.preset,
            '--seed',
            PRACTICE_SEED + 100_000 * config.seed,
        ],
        'evaluate_after': [*evaluate, '--folder', 'evaluation_after'],
        'report': ['report', '--run', config.run],
    }
    return {name: [str(word) for word in command] for name, command in plan.items()}


def run_demo(config: DemoConfig, console: Console) -> int:
    """
    Run every stage that is not done yet; return the exit code of the first that fails.

    The wall-clock seconds of each finished stage stand in ``stages.json``.
    """
    done_path = Path(config.run) / 'stages.json'
    done_path.parent.mkdir(parents=True, exist_ok=True)
    done = json.loads(done_path.read_text()) if done_path.is_file() else {}
    plan = stages(config)
    for number, (name, command) in enumerate(plan.items(), 1):
        if name in done and name != 'report':
            console.print(f'[dim]{number}/{len(plan)} {name}: done in {done[name]:.0f} s[/dim]')
            continue
        console.rule(f'{number}/{len(plan)} {name.replace("_", " ")}')
        started = time.monotonic()
        code = run_stage([sys.executable, '-m', 'efm_bringup.cli', *command])
        if code:
            console.print(
                f'[red]{name} ended with code {code}[/red]; logs: {Path(config.run) / "logs"}'
            )
            return code
        done[name] = round(time.monotonic() - started, 1)
        done_path.write_text(json.dumps(done, indent=1))
    return 0


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
