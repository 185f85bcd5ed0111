"""Numbers written once: ranges, choices and the command line made of them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

from efm_core.config import add_arguments, check, describe, from_arguments, parameter
import pytest


@dataclass(frozen=True, kw_only=True)
class Kettle:
    """A config with one field of each kind."""

    litres: float = parameter(1.5, 'How much', 'l', 0.1, 2.0)
    cups: int = parameter(4, 'For how many', 'cups', 1, 12)
    tea: str = parameter('green', 'Which', choices=('green', 'black'))
    label: str = parameter('', 'At 100 % of the pot')
    whistles: bool = parameter(True, 'Whether it is heard')

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


def parse(*words: str) -> Kettle:
    """Return the config that a command line describes."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, Kettle)
    return from_arguments(Kettle, parser.parse_args(words))


def test_bounds_belong_to_the_range():
    assert Kettle(litres=0.1, cups=12) == Kettle(litres=0.1, cups=12)


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'litres': 2.1}, 'litres: expected 0.1 to 2.0 l, got 2.1'),
        ({'litres': float('nan')}, 'litres: expected 0.1 to 2.0 l, got nan'),
        ({'cups': 0}, 'cups: expected 1 to 12 cups, got 0'),
        ({'tea': 'red'}, "tea: expected one of green, black, got 'red'"),
    ],
)
def test_value_out_of_range_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Kettle(**wrong)


def test_command_line_without_words_gives_the_defaults():
    assert parse() == Kettle()


def test_command_line_sets_every_kind_of_field():
    words = ('--litres', '0.5', '--cups', '2', '--tea', 'black', '--label', 'x', '--no-whistles')
    assert parse(*words) == Kettle(litres=0.5, cups=2, tea='black', label='x', whistles=False)


def test_command_line_refuses_what_the_dataclass_refuses():
    with pytest.raises(ValueError, match='cups: expected 1 to 12'):
        parse('--cups', '13')


@pytest.mark.parametrize('words', [('--tea', 'red'), ('--cups', 'two'), ('--cup', '2', '--x')])
def test_command_line_refuses_words_it_does_not_know(words, capsys):
    with pytest.raises(SystemExit):
        parse(*words)
    assert 'usage' in capsys.readouterr().err


def test_help_says_unit_default_and_range():
    assert describe(fields(Kettle)[0]) == 'How much [l] (default 1.5, 0.1 to 2.0)'
    parser = argparse.ArgumentParser()
    add_arguments(parser, Kettle)
    shown = ' '.join(parser.format_help().split())
    assert 'For how many [cups] (default 4, 1 to 12)' in shown
    assert 'At 100 % of the pot' in shown


def test_what_was_not_typed_comes_from_a_preset():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Kettle, given_only=True)
    preset = Kettle(litres=0.5, cups=2)
    assert from_arguments(Kettle, parser.parse_args(['--cups', '4']), preset) == Kettle(
        litres=0.5, cups=4
    )
    assert from_arguments(Kettle, parser.parse_args([]), preset) == preset
