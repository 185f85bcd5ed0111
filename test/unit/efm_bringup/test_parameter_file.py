"""Files of parameters, as ROS 2 writes them."""

from __future__ import annotations

from efm_bringup.parameter_file import read_rules, Rule, select
import pytest

NODES = ('policy', 'guard')


@pytest.fixture
def rules(tmp_path):
    """Return a function that reads a text."""

    def read(text):
        path = tmp_path / 'parameters.yaml'
        path.write_text(text)
        return read_rules(str(path), NODES)

    return read


@pytest.mark.parametrize(
    ('pattern', 'fitting'),
    [
        ('/robot_0/policy', ['/robot_0/policy']),
        ('/*/policy', ['/robot_0/policy', '/robot_1/policy']),
        ('/**/policy', ['/policy', '/robot_0/policy', '/robot_1/policy', '/lab/robot_0/policy']),
        ('policy', ['/policy', '/robot_0/policy', '/robot_1/policy', '/lab/robot_0/policy']),
        ('robot_0/policy', ['/robot_0/policy', '/lab/robot_0/policy']),
        ('/robot_0/*', ['/robot_0/policy', '/robot_0/guard']),
    ],
)
def test_which_nodes_a_name_means(pattern, fitting):
    names = [
        *('/policy', '/robot_0/policy', '/robot_1/policy'),
        *('/lab/robot_0/policy', '/robot_0/guard'),
    ]
    rule = Rule(pattern, {'a': 1})
    assert [name for name in names if select([rule], name)] == fitting


def test_two_stars_mean_everybody():
    assert select([Rule('/**', {'a': 1})], '/lab/robot_0/guard') == {'a': 1}


def test_later_entries_win(rules):
    text = 'guard: {ros__parameters: {a: 1, b: 1}}\n/**: {ros__parameters: {b: 2}}\n'
    assert select(rules(text), '/robot_0/guard') == {'a': 1, 'b': 2}


def test_namespaces_may_be_nested_and_so_may_parameters(rules):
    text = '/robot_0:\n  guard:\n    ros__parameters:\n      a: {b: 1, c: [1.0, 2.0]}\n'
    assert rules(text) == [Rule('/robot_0/guard', {'a.b': 1, 'a.c': [1.0, 2.0]})]


def test_an_empty_file_says_nothing(rules):
    assert rules('') == []


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('a: [', 'expected YAML'),
        ('- 1', "expected a mapping under ''"),
        ('guard: 3', "expected a mapping under 'guard', got 3"),
        ('ros__parameters: {a: 1}', "expected a node and its parameters at ''"),
        ('guard: {ros__parameters: 3}', "expected a node and its parameters at 'guard', got 3"),
        ('gard: {ros__parameters: {a: 1}}', "expected nodes of policy, guard, got 'gard'"),
    ],
)
def test_what_is_no_file_of_parameters_is_refused(rules, text, complaint):
    with pytest.raises(ValueError, match=complaint):
        rules(text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.yaml'):
        read_rules(str(tmp_path / 'none.yaml'), NODES)
