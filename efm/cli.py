"""The command `efm`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import sys

from efm.check import add_verb as add_check_verb
from efm.demo import DemoConfig, run_demo
from efm.graphs import run_mode
from efm.label import add_verb as add_label_verb
from efm.pretrain import add_verb as add_pretrain_verb
from efm.serve import add_verb as add_serve_verb
from efm_bringup.config import GraphConfig
from efm_bringup.graph import EVALUATE, PRACTICE, RECORD
from efm_bringup.processes import ProcessConfig
from efm_bringup.run import open_run
from efm_core.config import add_arguments, from_arguments
from efm_core.machine import use_utf8
from efm_core.shared_config import RunConfig
from efm_experiments.command import add_verb as add_experiment_verb
from rich.console import Console
from rich.markup import escape

HELP = {
    RECORD: 'record demonstrations with a fleet, one bag per episode',
    'train': 'stage 1: fine-tune a model on the recorded demonstrations',
    PRACTICE: 'stage 2: run practice episodes and improve the policy from them',
    EVALUATE: 'evaluate a release without learning',
    'export': 'export the checkpoints of stage 1 to ONNX and compare both',
    'report': 'write report.html and summary.json of a run',
    'demo': 'run all stages, from demonstrations to the report',
}


def main(words: list[str] | None = None) -> None:
    """
    Run one command and exit with its code; an error is printed as one line and gives code 1.

    :param words: the command line; None for that of the process.
    """
    if words is None:
        use_utf8()
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
    """Return the command line: one command each, with the fields of its configurations."""
    from efm.fine_tunings import FineTuningChoice
    from efm.model_choice import ModelChoice
    from efm_model.vlm.config import VlmConfig
    from efm_trainer.config import SftConfig

    parser = argparse.ArgumentParser(
        prog='efm', description='Train robots by demonstration and practice.'
    )
    verbs = parser.add_subparsers(dest='name', required=True, metavar='COMMAND')
    graph = (GraphConfig, ProcessConfig)
    add_verb(verbs, RECORD, graph_command, graph)
    train = add_verb(verbs, 'train', train_command, (RunConfig, FineTuningChoice, ModelChoice))
    for kind in (SftConfig, VlmConfig):
        add_arguments(train, kind, given_only=True)
    add_verb(verbs, PRACTICE, graph_command, graph)
    add_verb(verbs, EVALUATE, graph_command, graph)
    add_verb(verbs, 'export', export_command, (RunConfig,))
    add_verb(verbs, 'report', report_command, (RunConfig,))
    add_verb(verbs, 'demo', demo_command, (DemoConfig,))
    add_pretrain_verb(verbs)
    add_label_verb(verbs)
    add_check_verb(verbs)
    add_serve_verb(verbs)
    add_experiment_verb(verbs)
    return parser


def add_verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace, Console], int],
    configs: tuple[type, ...],
) -> argparse.ArgumentParser:
    """
    Add one command to the command line; return its parser.

    :param command: returns the exit code.
    :param configs: configurations whose fields are the options.
    """
    text = HELP[name]
    parser = verbs.add_parser(name, help=text, description=text)
    for kind in configs:
        add_arguments(parser, kind)
    parser.set_defaults(command=command)
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
    """Fine-tune a model on the demonstrations of a run; one with an export gets release 1."""
    from efm.fine_tunings import FineTuningChoice, open_fine_tuning
    from efm.model_choice import choose_model
    from efm.pretrain import ENCODER_FILE
    from efm.train import find_policy, train, train_vlm
    from efm_core.embodiment import load_embodiment
    from efm_model.vlm.config import VlmConfig
    from efm_trainer.config import SftConfig, STAGE_ONE

    run = from_arguments(RunConfig, arguments)
    folder = Path(run.run)
    embodiment = open_run(run.run, run.embodiment)
    choice = from_arguments(FineTuningChoice, arguments)
    policy = find_policy(folder) if choice.reward_only else None
    if choice.fine_tuning:
        folder = open_fine_tuning(folder, choice.fine_tuning)
        console.print(f'fine-tuning: a run of its own, {folder}', soft_wrap=True)
    chosen = choose_model(
        policy.family if policy else arguments.model,
        load_embodiment(embodiment),
        own_encoder=(folder / ENCODER_FILE).is_file(),
        options=vars(arguments),
    )
    console.print(f'model: {chosen.family}; {chosen.reason}', soft_wrap=True)
    config = from_arguments(SftConfig, arguments, STAGE_ONE[chosen.family])
    if chosen.family == 'vlm':
        options = from_arguments(VlmConfig, arguments, VlmConfig())
        train_vlm(folder, embodiment, config, options, console)
    else:
        labelled = Path(run.run)
        train(folder, embodiment, config, console, chosen.family, labelled, policy)
    return 0


def export_command(arguments: argparse.Namespace, console: Console) -> int:
    """Export the checkpoints of stage 1; return 1 if an export differs from torch."""
    from efm.train import export

    run = from_arguments(RunConfig, arguments)
    return 0 if export(Path(run.run), open_run(run.run, run.embodiment), console) else 1


def report_command(arguments: argparse.Namespace, console: Console) -> int:
    """Write the report of a run and print its success."""
    from efm_evaluation.report import describe_success, read_json, write_report

    run = Path(arguments.run)
    page = write_report(run)
    for line in describe_success(read_json(run / 'summary.json')):
        console.print(line, soft_wrap=True, markup=False)
    console.print(f'report: {page}', soft_wrap=True)
    return 0


def demo_command(arguments: argparse.Namespace, console: Console) -> int:
    """Run all stages that are not done."""
    return run_demo(from_arguments(DemoConfig, arguments), console)


if __name__ == '__main__':
    main()
