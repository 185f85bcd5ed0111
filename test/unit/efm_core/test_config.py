"""Configurations: ranges, choices, shared fields and the command line made from them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields, FrozenInstanceError, KW_ONLY, replace

from efm_core.config import (
    add_arguments,
    config,
    copy_field,
    describe,
    flag_of,
    from_arguments,
    non_defaults,
    parameter,
)
import pytest


@config
class Kettle:
    """
    A kettle with one field of each kind.

    Further lines are not shown.
    """

    litres: float = parameter(1.5, 'How much', 'l', 0.1, 2.0)
    num_cups: int = parameter(4, 'For how many', 'cups', 1, 12, flag='cups')
    tea: str = parameter('green', 'Which', choices=('green', 'black'))
    label: str = parameter('', 'At 100 % of the pot')
    whistles: bool = parameter(True, 'Whether it whistles')


@config
class Samovar(Kettle):
    """A kettle with a tap."""

    coal_kg: float = parameter(0.5, 'Coal', 'kg', 0.0, 5.0)
    spare_tea: str = copy_field(Kettle, 'tea', default='black')

    def validate(self) -> None:
        """Check the amount of coal."""
        if self.coal_kg < self.litres / 10:
            raise ValueError(f'coal_kg: expected {self.litres / 10} or more, got {self.coal_kg}')


def parse(*words: str) -> Kettle:
    """Return the config that a command line describes."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, Kettle)
    return from_arguments(Kettle, parser.parse_args(words))


def test_bounds_belong_to_the_range():
    assert Kettle(litres=0.1, num_cups=12) == Kettle(litres=0.1, num_cups=12)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'litres': 2.1}, 'litres: expected 0.1 to 2.0 l, got 2.1'),
        ({'litres': float('nan')}, 'litres: expected 0.1 to 2.0 l, got nan'),
        ({'num_cups': 0}, 'cups: expected 1 to 12 cups, got 0'),
        ({'tea': 'red'}, "tea: expected one of green, black, got 'red'"),
    ],
)
@pytest.mark.parametrize('config_type', [Kettle, Samovar])
def test_value_out_of_range_is_refused(config_type, wrong, message):
    with pytest.raises(ValueError, match=message):
        config_type(**wrong)


def test_range_without_a_unit_is_refused_in_one_sentence():
    @config
    class Pot:
        share: float = parameter(0.5, 'Share', '', 0.0, 1.0)

    with pytest.raises(ValueError, match=r'^share: expected 0.0 to 1.0, got 2.0$'):
        Pot(share=2.0)


def test_a_config_is_frozen_and_takes_keywords_only():
    with pytest.raises(FrozenInstanceError):
        Kettle().litres = 1.0
    with pytest.raises(TypeError, match='positional'):
        Kettle(1.0)


def test_values_are_checked_against_each_other_after_their_ranges():
    with pytest.raises(ValueError, match=r'coal_kg: expected 0.15 or more, got 0.0'):
        Samovar(coal_kg=0.0)
    with pytest.raises(ValueError, match=r'litres: expected 0.1 to 2.0 l'):
        Samovar(coal_kg=0.0, litres=9.0)
    with pytest.raises(ValueError, match='coal_kg'):
        replace(Samovar(), coal_kg=0.0)


def test_inherited_fields_come_first_with_their_help():
    names = [field.name for field in fields(Samovar)]
    assert names == [*(field.name for field in fields(Kettle)), 'coal_kg', 'spare_tea']
    assert describe(fields(Samovar)[0]) == describe(fields(Kettle)[0])


def test_a_copied_field_has_the_same_help_and_its_own_default():
    copied = {field.name: field for field in fields(Samovar)}['spare_tea']
    original = {field.name: field for field in fields(Kettle)}['tea']
    assert copied.metadata == original.metadata
    assert (copied.default, original.default) == ('black', 'green')
    with pytest.raises(ValueError, match='spare_tea: expected one of green, black'):
        Samovar(spare_tea='red')
    with pytest.raises(KeyError):
        copy_field(Kettle, 'milk')


def test_command_line_without_words_gives_the_defaults():
    assert parse() == Kettle()


def test_command_line_sets_every_kind_of_field():
    words = ('--litres', '0.5', '--cups', '2', '--tea', 'black', '--label', 'x', '--no-whistles')
    assert parse(*words) == Kettle(litres=0.5, num_cups=2, tea='black', label='x', whistles=False)


def test_an_option_has_its_flag_or_the_name_of_its_field():
    assert [flag_of(field) for field in fields(Kettle)][:2] == ['litres', 'cups']


def test_command_line_refuses_what_the_dataclass_refuses():
    with pytest.raises(ValueError, match='cups: expected 1 to 12'):
        parse('--cups', '13')


@pytest.mark.parametrize(
    'words', [('--tea', 'red'), ('--cups', 'two'), ('--num-cups', '2'), ('--cup', '2', '--x')]
)
def test_command_line_refuses_words_it_does_not_know(words, capsys):
    with pytest.raises(SystemExit):
        parse(*words)
    assert 'usage' in capsys.readouterr().err


def test_help_has_unit_default_and_range():
    litres, cups, tea, label, whistles = map(describe, fields(Kettle))
    assert litres == 'How much [l] (default 1.5, 0.1 to 2.0)'
    assert cups == 'For how many [cups] (default 4, 1 to 12)'
    assert (tea, label) == ('Which (default green)', 'At 100 % of the pot')
    assert whistles == 'Whether it whistles (default True)'
    parser = argparse.ArgumentParser()
    add_arguments(parser, Kettle)
    shown = ' '.join(parser.format_help().split())
    assert 'A kettle with one field of each kind: --litres LITRES How much' in shown
    assert '--cups CUPS For how many [cups] (default 4, 1 to 12)' in shown
    assert 'At 100 % of the pot' in shown


def test_options_that_were_not_given_come_from_a_preset():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Kettle, given_only=True)
    preset = Kettle(litres=0.5, num_cups=2)
    assert from_arguments(Kettle, parser.parse_args(['--cups', '4']), preset) == Kettle(
        litres=0.5, num_cups=4
    )
    assert from_arguments(Kettle, parser.parse_args([]), preset) == preset


@dataclass(frozen=True)
class Leaf:
    """A nested dataclass."""

    weight: float = 1.0
    veins: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Tree:
    """A dataclass with a required field, and with nested ones."""

    name: str
    leaves: tuple[Leaf, ...] = ()
    _: KW_ONLY
    top: Leaf = Leaf()
    tags: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize(
    ('tree', 'plain'),
    [
        (Tree('oak'), {'name': 'oak'}),
        (Tree('oak', (Leaf(), Leaf(2.0))), {'name': 'oak', 'leaves': [{}, {'weight': 2.0}]}),
        (Tree('oak', top=Leaf(veins=(3,))), {'name': 'oak', 'top': {'veins': [3]}}),
        (Tree('oak', tags={'old': 1}), {'name': 'oak', 'tags': {'old': 1}}),
        (Tree('oak', tags={}), {'name': 'oak'}),
    ],
)
def test_only_required_fields_and_those_that_differ_from_their_defaults_remain(tree, plain):
    assert non_defaults(tree) == plain
