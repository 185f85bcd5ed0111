"""Demonstrators by name."""

from __future__ import annotations

from efm_sim.demonstrator import load_demonstrator
from efm_sim.table.config import DemonstratorConfig
from efm_sim.table.demonstrator import TableDemonstrator
import pytest


def test_an_empty_name_loads_the_demonstrator_of_the_table():
    config = DemonstratorConfig(noise=0.1)
    demonstrator = load_demonstrator('', config)
    assert type(demonstrator) is TableDemonstrator
    assert demonstrator.config is config


def test_a_name_loads_its_class():
    demonstrator = load_demonstrator('efm_sim.table.demonstrator:TableDemonstrator')
    assert type(demonstrator) is TableDemonstrator


@pytest.mark.parametrize(
    'name',
    [
        'no_such_module',
        'efm_sim.demonstrator:Demonstrator',
        'efm_sim.table.demonstrator:Missing',
        ':x',
        'math:pi',
    ],
)
def test_an_error_names_a_demonstrator_that_cannot_be_constructed(name):
    with pytest.raises(ValueError, match=f'that can be constructed, got {name!r}: '):
        load_demonstrator(name)
