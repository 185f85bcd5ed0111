"""The ROS 2 node graph of a run: from the options of the command line to the recorded bags."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
import json
import os
from pathlib import Path
from typing import Any

from efm_bringup.config import GraphConfig
from efm_bringup.graph import (
    bags_path,
    make_graph,
    MODES,
    NodeSpec,
    PRACTICE,
    RECORD,
    results_path,
)
from efm_bringup.processes import INTERRUPTED, ProcessConfig, run_nodes
from efm_bringup.progress import watching
from efm_bringup.run import open_run
from efm_core.config import expect
from efm_core.embodiment import load_embodiment
from efm_supervisor.config import FleetConfig
from efm_supervisor.results import ResultsFile
from rich.console import Console

TITLES = {'record': 'demonstrations', 'practice': 'practice', 'evaluate': 'evaluation'}


def run_graph(mode: str, **options: Any) -> Path:
    """
    Run the ROS 2 node graph until its fleet is done; return the folder of the bags.

    ``efm record``, ``efm practice`` and ``efm evaluate`` do the same. Each node is one process on
    this host. ``read_episodes`` reads the bags.

    :param mode: ``record``, ``practice`` or ``evaluate``.
    :param options: options of that command, with underscores: ``run``, ``embodiment``, ``world``,
        ``num_robots``, ``episodes``, ``seed`` and more.
    :raises TypeError: on an unknown option.
    :raises ValueError: when an option is out of range, or the run belongs to another embodiment.
    :raises FileNotFoundError: when the robots need a release and the run has none.
    :raises RuntimeError: when a node fails, with its last log lines.
    :raises KeyboardInterrupt: when the nodes were interrupted.
    """
    expect(mode in MODES, 'mode', ', '.join(MODES), repr(mode))
    own = {field.name for field in fields(ProcessConfig)}
    processes = ProcessConfig(**{k: v for k, v in options.items() if k in own})
    config = GraphConfig(**{k: v for k, v in options.items() if k not in own})
    code = run_mode(mode, config, processes, Console(quiet=True))
    if code in INTERRUPTED:
        raise KeyboardInterrupt
    return bags_path(config, mode)


def run_mode(mode: str, config: GraphConfig, processes: ProcessConfig, console: Console) -> int:
    """
    Run the node graph of a mode until its fleet is done; return the exit code.

    :param mode: ``record``, ``practice`` or ``evaluate``.
    :param console: shows the progress.
    :raises RuntimeError: when a node fails, with its last log lines.
    :raises ValueError: when the evaluation of that name has another release or other scenes.
    """
    config = replace(config, embodiment=str(open_run(config.run, config.embodiment)))
    if mode != RECORD and not config.text_encoder:
        from efm_model.text import ensure_text_encoder

        config = replace(config, text_encoder=str(ensure_text_encoder()))
    if mode == PRACTICE:
        report_detector(config, console)
    nodes = make_graph(mode, config)
    results = results_path(config, mode)
    results.parent.mkdir(parents=True, exist_ok=True)
    logs = Path(config.run) / 'logs' / (config.episodes_subdir or mode)
    missing = config.episodes - count_finished(nodes)
    if missing < config.episodes:
        text = f'{missing} of {config.episodes} episodes are missing in {results}'
        console.print(f'{TITLES[mode]}: {text}', soft_wrap=True)
    if not missing:
        return 0
    alarm = Path(config.run) / 'trainer' / 'alarm.txt' if mode == PRACTICE else None
    with watching(TITLES[mode], results, missing, mode == RECORD, console, alarm):
        code = run_nodes(nodes, logs, config.log_level, in_domain(processes, config.world))
    if mode == RECORD:
        report_recorded(results)
    if alarm and alarm.is_file():
        console.print(f'warning: {alarm.read_text().strip()}', soft_wrap=True, markup=False)
    return code


def report_detector(config: GraphConfig, console: Console) -> None:
    """
    Print what was measured of the success detector of a run.

    :raises ValueError: when it is too often wrong for practice.
    """
    from efm_trainer.detector import check_detector, read_report

    rules = load_embodiment(config.embodiment).episode
    found = read_report(Path(config.run) / 'sft')
    for line in check_detector(found, rules, config.min_precision):
        console.print(line, soft_wrap=True, markup=False)


def count_finished(nodes: list[NodeSpec]) -> int:
    """
    Return how many of the requested episodes an interrupted evaluation has finished.

    :raises ValueError: when the results file has episodes of another release or other scenes.
    """
    given = next(node.parameters for node in nodes if node.name == 'fleet')
    own = {field.name for field in fields(FleetConfig)}
    fleet = FleetConfig(**{name: value for name, value in given.items() if name in own})
    return len(ResultsFile(fleet.results).finished(fleet)) if fleet.resume else 0


def report_recorded(results: Path) -> None:
    """
    Warn of instructions that stage 1 may not take, before more demonstrations are recorded.

    :param results: file with one JSON line per episode; a crash may have cut the last one.
    """
    from efm_model.text import report_instructions

    sentences = []
    for line in results.read_text('utf-8').splitlines() if results.is_file() else ():
        with suppress(ValueError, KeyError, TypeError):
            sentences.append(json.loads(line)['instruction'])
    report_instructions(filter(None, sentences))


def in_domain(processes: ProcessConfig, world: str) -> ProcessConfig:
    """Return ``processes``; a real robot without a given domain is in the shell's ROS domain."""
    if world == 'real' and processes.domain_id < 0:
        return replace(processes, domain_id=int(os.environ.get('ROS_DOMAIN_ID', 0)))
    return processes
