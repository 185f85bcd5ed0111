from argparse import ArgumentParser

from efm_experiments import command
from efm_experiments.catalogue import CATALOGUE
import pytest
from rich.console import Console


@pytest.mark.parametrize(
    ('typed', 'names'), [('controls', ['controls']), ('all', list(CATALOGUE)), ('--list', [])]
)
def test_one_experiment_or_all_are_run(monkeypatch, typed, names):
    ran = []
    monkeypatch.setattr(command, 'run_and_publish', lambda name, *_: ran.append(name))
    parser = ArgumentParser()
    command.add_verb(parser.add_subparsers())
    arguments = parser.parse_args(['experiment', typed])
    assert arguments.command(arguments, Console(quiet=True)) == 0
    assert ran == names


def test_the_command_line_reproduces_the_results():
    parser = ArgumentParser()
    command.add_verb(parser.add_subparsers())
    arguments = parser.parse_args(['experiment', 'all', '--seeds', '3', '--jobs', '1'])
    assert command.command_line('sweeps', arguments) == 'efm experiment sweeps --seeds 3'
