"""The command `efm check`: whether a robot is what its embodiment says."""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json

from efm_bringup.processes import ProcessConfig
from efm_bringup.robot_check import examine, FAULT, Finding
from efm_core.config import add_arguments, config, copy_field, from_arguments, parameter
from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import find_embodiment
from efm_core.shared_config import RunConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table


@config
class CheckConfig:
    """Which robot is checked, and for how long."""

    embodiment: str = copy_field(RunConfig, 'embodiment')
    namespace: str = parameter('robot_0', 'Namespace of the robot; /: none')
    seconds: float = parameter(5.0, 'Duration of the check', 's', 0.5, 600.0)
    max_skew_s: float = parameter(
        0.1, "Largest difference between stamps and this machine's clock", 's', 0.001, 60.0
    )
    discovery_range: str = copy_field(ProcessConfig, 'discovery_range')


def add_verb(verbs: argparse._SubParsersAction) -> None:
    """Give the command line its verb."""
    text = 'compare a running robot with its embodiment, without moving it'
    parser = verbs.add_parser('check', help=text, description=text)
    add_arguments(parser, CheckConfig)
    parser.add_argument('--json', action='store_true', help='print the findings as JSON')
    parser.set_defaults(command=check_command)


def check_command(arguments: argparse.Namespace, console: Console) -> int:
    """Look, print what is wrong and how to mend it; 1 with a fault, 0 without."""
    from efm_bringup.robot_check_node import watch

    config = from_arguments(CheckConfig, arguments)
    embodiment = load_embodiment(find_embodiment(config.embodiment))
    namespace = '/' + config.namespace.strip('/')
    robot = watch(embodiment, namespace, config.seconds, config.discovery_range)
    findings = examine(robot, embodiment, config.max_skew_s)
    if arguments.json:
        about = {'embodiment': embodiment.name, 'hash': embodiment.hash}
        print(json.dumps({**about, 'findings': [asdict(finding) for finding in findings]}))
    else:
        show(findings, f'{embodiment.name} in {namespace}', console)
    return int(any(finding.severity == FAULT for finding in findings))


def show(findings: list[Finding], name: str, console: Console) -> None:
    """Print findings for people."""
    if not findings:
        console.print(f'[green]{escape(name)}: nothing is wrong[/green]')
        return
    table = Table('what', 'is wrong', 'mend', title=escape(name), show_lines=True)
    for finding in findings:
        colour = 'red' if finding.severity == FAULT else 'yellow'
        table.add_row(
            f'[{colour}]{finding.severity}[/{colour}] {escape(finding.subject)}',
            escape(finding.problem),
            escape(finding.mend),
        )
    console.print(table)
