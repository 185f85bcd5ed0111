"""The command `efm`: record, train, practice, evaluate, serve, check, export, report and more."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from efm.check import add_verb as add_check_verb
from efm.demo import DemoConfig, run_demo
from efm.graphs import run_mode
from efm.pretrain import add_verb as add_pretrain_verb
from efm.serve import add_verb as add_serve_verb
from efm_bringup.config import GraphConfig
from efm_bringup.graph import EVALUATE, PRACTICE, RECORD
from efm_bringup.processes import ProcessConfig
from efm_bringup.run import open_run
from efm_core.config import add_arguments, from_arguments
from efm_core.shared_config import RunConfig
from efm_experiments.command import add_verb as add_experiment_verb
from rich.console import Console
from rich.markup import escape


def main(words: list[str] | None = None) -> None:
    """Run one command; errors are one line, and exit code 1."""
    arguments = make_parser().parse_args(words)
    console = Console(highlight=False)
    try:
        code = arguments.command(arguments, console)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        Console(stderr=True, highlight=False).print(
            f'[red]efm {arguments.name}:[/red] {escape(str(error))}', soft_wrap=True
        )
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def make_parser() -> argparse.ArgumentParser:
    """Return the command line: one verb each, options made from the config dataclasses."""
    from efm.train import ModelChoice
    from efm_model.vlm.config import VlmConfig
    from efm_trainer.config import SftConfig

    parser = argparse.ArgumentParser(
        prog='efm', description='Train robots by demonstration and practice.'
    )
    verbs = parser.add_subparsers(dest='name', required=True, metavar='COMMAND')
    for verb, command, configs, text in (
        (
            RECORD,
            graph_command,
            (GraphConfig, ProcessConfig),
            'record demonstrations with a fleet, one bag per episode',
        ),
        (
            'train',
            train_command,
            (RunConfig, ModelChoice),
            'stage 1: fine-tune a model on the recorded demonstrations',
        ),
        (
            PRACTICE,
            graph_command,
            (GraphConfig, ProcessConfig),
            'stage 2: run practice episodes and improve the policy from them',
        ),
        (
            EVALUATE,
            graph_command,
            (GraphConfig, ProcessConfig),
            'evaluate a release without learning',
        ),
        (
            'export',
            export_command,
            (RunConfig,),
            'export the checkpoints of stage 1 to ONNX and compare both',
        ),
        ('report', report_command, (RunConfig,), 'write report.html and summary.json of a run'),
        ('demo', demo_command, (DemoConfig,), 'run all stages, from demonstrations to the report'),
    ):
        verb_parser = verbs.add_parser(verb, help=text, description=text)
        for config in configs:
            add_arguments(verb_parser, config)
        verb_parser.set_defaults(command=command)
    for config in (SftConfig, VlmConfig):
        add_arguments(verbs.choices['train'], config, given_only=True)
    add_pretrain_verb(verbs)
    add_check_verb(verbs)
    add_serve_verb(verbs)
    add_experiment_verb(verbs)
    return parser


def graph_command(arguments: argparse.Namespace, console: Console) -> int:
    """Run the node graph of a mode until its fleet is done."""
    return run_mode(
        arguments.name,
        from_arguments(GraphConfig, arguments),
        from_arguments(ProcessConfig, arguments),
        console,
    )


def train_command(arguments: argparse.Namespace, console: Console) -> int:
    """Read the demonstrations, fine-tune; of a compact model publish release 1."""
    from efm.train import train, train_vlm
    from efm_model.vlm.config import VlmConfig
    from efm_trainer.config import SftConfig, STAGE_ONE

    run = from_arguments(RunConfig, arguments)
    kind = arguments.model
    config = from_arguments(SftConfig, arguments, STAGE_ONE[kind])
    folder = Path(run.run)
    embodiment = open_run(run.run, run.embodiment)
    if kind == 'vlm':
        options = from_arguments(VlmConfig, arguments, VlmConfig())
        train_vlm(folder, embodiment, config, options, console)
    else:
        train(folder, embodiment, config, console)
    return 0


def export_command(arguments: argparse.Namespace, console: Console) -> int:
    """Export the checkpoints of stage 1 and print what the export is worth."""
    from efm.train import export

    run = from_arguments(RunConfig, arguments)
    return 0 if export(Path(run.run), open_run(run.run, run.embodiment), console) else 1


def report_command(arguments: argparse.Namespace, console: Console) -> int:
    """Write the report of what lies in a run."""
    from efm_evaluation.report import write_report

    console.print(f'report: {write_report(Path(arguments.run))}', soft_wrap=True)
    return 0


def demo_command(arguments: argparse.Namespace, console: Console) -> int:
    """Run the main job."""
    return run_demo(from_arguments(DemoConfig, arguments), console)


if __name__ == '__main__':
    main()
