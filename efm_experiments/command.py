"""The verb ``experiment`` of the command ``efm``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

ABOUT = 'repeat a published experiment and report intervals over seeds'


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb ``experiment`` to the command line."""
    parser = verbs.add_parser('experiment', help=ABOUT, description=ABOUT)
    parser.add_argument('experiment', nargs='?', default='', help='name of the experiment, or all')
    parser.add_argument('--list', action='store_true', help='list all experiments and stop')
    parser.add_argument(
        '--seeds', type=int, default=0, help="seeds per cell (default: the experiment's own)"
    )
    parser.add_argument(
        '--smoke', action='store_true', help='run a small version in seconds, as a test'
    )
    parser.add_argument('--jobs', type=int, default=2, help='parallel processes (default 2)')
    parser.add_argument(
        '--results',
        default='runs/experiments',
        metavar='FOLDER',
        help='folder of finished cells (default runs/experiments); the next run skips them',
    )
    parser.add_argument(
        '--publish',
        default='',
        metavar='FOLDER',
        help='folder for results.md and results/, such as docs (default: beside the cells)',
    )
    parser.add_argument(
        '--allow-dirty',
        action='store_true',
        help='publish results of a tree with uncommitted changes too; for trials only',
    )
    parser.add_argument(
        '--remake',
        action='store_true',
        help='run nothing; regenerate figures and page from the results stored in --publish',
    )
    parser.set_defaults(command=experiment_command)


def experiment_command(arguments: argparse.Namespace, console: Console) -> int:
    """Run the experiments that the command line names, and write the results page."""
    from efm_experiments.catalogue import CATALOGUE

    if arguments.remake:
        from efm_experiments.publish import republish

        console.print(f'results: {republish(Path(arguments.publish or "docs"))}')
        return 0
    if arguments.list or not arguments.experiment:
        for name, title in CATALOGUE.items():
            console.print(f'{name:18} {title}', soft_wrap=True)
        return 0
    for name in CATALOGUE if arguments.experiment == 'all' else [arguments.experiment]:
        run_and_publish(name, arguments, console)
    return 0


def run_and_publish(name: str, arguments: argparse.Namespace, console: Console) -> None:
    """
    Run the unfinished cells of one experiment and write its part of the results page.

    :raises ValueError: when the results are to be published but are not those of a clean tree.
    """
    from efm_experiments.publish import check_clean, publish
    from efm_experiments.runner import describe_commit, run

    is_strict = arguments.publish and not arguments.allow_dirty
    if is_strict:
        check_clean([describe_commit()])  # before hours of work
    root = Path(arguments.results)
    root = root / 'smoke' if arguments.smoke else root
    seeds = max(arguments.seeds, 0)
    jobs = max(arguments.jobs, 1)
    results = run(name, root / name, seeds, arguments.smoke, jobs, console)
    if is_strict:
        check_clean(record.commit for record in results.records)
    folder = Path(arguments.publish) if arguments.publish else root
    page = publish(name, results, command_line(name, arguments), folder)
    console.print(f'results: {page}')


def command_line(name: str, arguments: argparse.Namespace) -> str:
    """Return the command that reproduces these results."""
    seeds = f' --seeds {arguments.seeds}' if arguments.seeds else ''
    return f'efm experiment {name}{seeds}{" --smoke" if arguments.smoke else ""}'
