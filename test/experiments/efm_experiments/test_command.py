from argparse import ArgumentParser
from types import SimpleNamespace

from efm_experiments import command, publish, runner
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


def publish_with(monkeypatch, commits, *words):
    """Publish records of ``commits``, the first of them that of the present tree."""
    done = []
    records = [SimpleNamespace(commit=commit) for commit in commits]
    monkeypatch.setattr(runner, 'describe_commit', lambda: commits[0])
    monkeypatch.setattr(
        runner, 'run', lambda *_: done.append('run') or SimpleNamespace(records=records)
    )
    monkeypatch.setattr(publish, 'publish', lambda *_: done.append('published'))
    parser = ArgumentParser()
    command.add_verb(parser.add_subparsers())
    arguments = parser.parse_args(['experiment', 'controls', *words])
    try:
        arguments.command(arguments, Console(quiet=True))
    except ValueError as error:
        done.append(str(error))
    return done


def test_results_of_a_clean_tree_are_published(monkeypatch):
    assert publish_with(monkeypatch, ['a1'], '--publish', 'docs') == ['run', 'published']


@pytest.mark.parametrize('commit', ['a1+', 'unknown'])
def test_a_tree_with_uncommitted_changes_is_refused_before_the_run(monkeypatch, commit):
    (message,) = publish_with(monkeypatch, [commit], '--publish', 'docs')
    assert message.startswith(f'publish: expected results of a clean tree, got {commit}')
    assert '\n' not in message


def test_stored_records_of_uncommitted_changes_are_refused(monkeypatch):
    done = publish_with(monkeypatch, ['a1', 'b2+'], '--publish', 'docs')
    assert done[0] == 'run'
    assert 'b2+' in done[1]


@pytest.mark.parametrize('words', [('--publish', 'docs', '--allow-dirty'), ()])
def test_trials_are_not_refused(monkeypatch, words):
    assert publish_with(monkeypatch, ['a1+'], *words) == ['run', 'published']


def test_the_command_line_reproduces_the_results():
    parser = ArgumentParser()
    command.add_verb(parser.add_subparsers())
    arguments = parser.parse_args(['experiment', 'all', '--seeds', '3', '--jobs', '1'])
    assert command.command_line('sweeps', arguments) == 'efm experiment sweeps --seeds 3'
