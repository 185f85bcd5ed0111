"""The command `efm check`: compare a running robot with its embodiment."""

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
    use_sim_time: bool = parameter(False, 'The robot runs on simulated time, of /clock')
    discovery_range: str = copy_field(ProcessConfig, 'discovery_range')


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `efm check` to the command line."""
    text = 'compare a running robot with its embodiment, without moving it'
    parser = verbs.add_parser('check', help=text, description=text)
    add_arguments(parser, CheckConfig)
    parser.add_argument('--json', action='store_true', help='print the findings as JSON')
    parser.set_defaults(command=check_command)


def check_command(arguments: argparse.Namespace, console: Console) -> int:
    """Print all findings with their fixes; return 1 if one of them is a fault, otherwise 0."""
    from efm_bringup.robot_check_node import observe_robot

    options = from_arguments(CheckConfig, arguments)
    embodiment = load_embodiment(find_embodiment(options.embodiment))
    namespace = '/' + options.namespace.strip('/')
    robot = observe_robot(
        embodiment,
        namespace,
        seconds=options.seconds,
        discovery_range=options.discovery_range,
        use_sim_time=options.use_sim_time,
    )
    findings = examine(robot, embodiment, options.max_skew_s)
    if arguments.json:
        plain = [asdict(finding) for finding in findings]
        about = {'embodiment': embodiment.name, 'hash': embodiment.hash}
        print(json.dumps({**about, 'findings': plain}))
    else:
        print_findings(findings, f'{embodiment.name} in {namespace}', console)
    return int(any(finding.severity == FAULT for finding in findings))


def print_findings(findings: list[Finding], name: str, console: Console) -> None:
    """Print the findings as a table."""
    if not findings:
        console.print(f'[green]{escape(name)}: no findings[/green]')
        return
    table = Table('subject', 'problem', 'fix', title=escape(name), show_lines=True)
    for finding in findings:
        colour = 'red' if finding.severity == FAULT else 'yellow'
        table.add_row(
            f'[{colour}]{finding.severity}[/{colour}] {escape(finding.subject)}',
            escape(finding.problem),
            escape(finding.fix),
        )
    console.print(table)
