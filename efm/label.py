"""The command `efm label`: a person labels attempts of the policy on a page in a browser."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
import threading
from typing import TYPE_CHECKING

from efm.releases import read_embodiment
from efm_core.config import add_arguments, config, copy_field, from_arguments, parameter
from efm_core.shared_config import RunConfig
from efm_core.stop_signals import on_stop
from rich.console import Console

if TYPE_CHECKING:
    from efm_data.labels import Label


@config
class LabelConfig:
    """Which attempts a person labels."""

    run: str = copy_field(RunConfig, 'run')
    episodes_subdir: str = parameter(
        'evaluation_before', 'Folder of the bags in episodes/ of the run'
    )
    count: int = parameter(
        40, 'Attempts to label; earlier labels of the same choice count', '', 1, 100_000
    )
    seed: int = parameter(0, 'Seed of the random choice of attempts', '', 0, 2**31 - 1)
    port: int = parameter(8009, 'Port of the page; 0: any free port', '', 0, 65535)
    withdraw: str = parameter('', 'Withdraw the label of this episode of the folder, and exit')


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `efm label` to the command line."""
    text = 'label attempts of the policy: the frame at which each reaches its goal, or never'
    parser = verbs.add_parser('label', help=text, description=text)
    add_arguments(parser, LabelConfig)
    parser.add_argument(
        '--summary', action='store_true', help='print the counts of all labels, and exit'
    )
    parser.set_defaults(command=label_command)


def label_command(arguments: argparse.Namespace, console: Console) -> int:
    """Serve the page until SIGINT, SIGTERM or SIGHUP; return 0."""
    from efm_data.labelling import withdraw_label
    from efm_data.labels import attempt_stages

    options = from_arguments(LabelConfig, arguments)
    run = Path(options.run)
    if options.withdraw:
        withdraw_label(run, options.episodes_subdir, options.withdraw)
    elif arguments.summary:
        for stage in attempt_stages(run):
            print_summary(run, stage, read_operator_labels(run, stage), console)
    else:
        serve(options, console)
    return 0


def serve(options: LabelConfig, console: Console) -> None:
    """
    Serve the page until a stop signal; each label is on the disk before the next attempt shows.

    :raises ValueError: when the stage has no attempt, or the run has no such stage.
    :raises OSError: when the port is in use.
    """
    from efm_data.label_server import HOST, LabelServer
    from efm_data.labelling import LabellingSession

    run = Path(options.run)
    session = LabellingSession(
        run,
        options.episodes_subdir,
        embodiment=read_embodiment(run),
        count=options.count,
        seed=options.seed,
    )
    for reason in session.unusable:
        console.print(f'left out: {reason}', soft_wrap=True, markup=False)
    stopping = threading.Event()
    on_stop(lambda *_: stopping.set())
    with LabelServer(session, options.port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = f'{session.count} attempts: open http://{HOST}:{server.port}/ and end with Ctrl-C'
        console.print(text, soft_wrap=True)
        stopping.wait()
        server.shutdown()
    print_summary(run, options.episodes_subdir, session.by_operator, console)


def print_summary(run: Path, stage: str, by_operator: Iterable[Label], console: Console) -> None:
    """
    Print the counts of the labels of one stage.

    :param by_operator: labels of ``label_episode`` in the stage.
    """
    from efm_data.labels import LabelFile, summarise_labels

    labels = [label for label in LabelFile(run).read() if label.stage == stage]
    console.print(f'{stage}: {summarise_labels(labels, by_operator)}', soft_wrap=True)


def read_operator_labels(run: Path, stage: str) -> list[Label]:
    """Return the labels of ``label_episode`` in a stage."""
    from efm_data.labels import operator_label, read_stage

    episodes = (episode for _, episode in read_stage(run, stage, read_embodiment(run), []))
    return list(filter(None, (operator_label(stage, episode) for episode in episodes)))
