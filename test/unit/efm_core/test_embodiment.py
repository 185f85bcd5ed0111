"""The contract: read from YAML, hashed, refused when it makes no sense."""

from __future__ import annotations

from dataclasses import asdict, replace
import json

from efm_core.embodiment import (
    ActionSpace,
    Camera,
    Embodiment,
    load_embodiment,
    Reset,
    StepsToGoRange,
)
import numpy as np
import pytest

MINIMAL = """
name: robot
cameras: [{name: wrist, topic: image, height: 48, width: 64}]
observation_size: [32, 32]
action: {names: [x], unit: m, low: [-1], high: [1]}
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads an embodiment from text."""

    def load(text):
        path = tmp_path / 'robot.yaml'
        path.write_text(text)
        return load_embodiment(path)

    return load


def test_shipped_table_arm_says_what_the_simulator_expects(embodiment):
    assert embodiment.cameras == (
        Camera('table', 'image', height=64, width=64, crop=(0, 0, 64, 64)),
    )
    assert embodiment.observation_spec.shape == (64, 64, 3)
    assert embodiment.action.names == ('delta_x', 'delta_y')
    assert embodiment.control_rate_hz == 10.0
    assert embodiment.episode.success_dwell == 2


def test_what_is_left_out_has_a_default(load):
    robot = load(MINIMAL)
    assert robot.instruction_language == 'en'
    assert robot.action.bins == 11
    assert robot.reset == Reset()


def test_whole_numbers_become_floats_where_floats_are_meant(load):
    assert load(MINIMAL) == load(MINIMAL.replace('[-1]', '[-1.0]'))
    assert isinstance(load(MINIMAL).action.low[0], float)


def test_hash_is_stable(load):
    """A change of this hash makes every bag and checkpoint in the world another robot's."""
    assert load(MINIMAL).hash == 'f015d356f09d1fa9'


def test_hash_does_not_depend_on_the_order_of_keys_or_on_comments(load):
    lines = MINIMAL.strip().splitlines()
    assert load('\n'.join(reversed(lines)) + '\n# more\n').hash == load(MINIMAL).hash


def test_hash_depends_on_every_field(embodiment):
    changed = [
        replace(embodiment, name='other'),
        replace(embodiment, control_rate_hz=10.5),
        replace(embodiment, action=replace(embodiment.action, bins=13)),
        replace(embodiment, episode=replace(embodiment.episode, success_threshold=3.0)),
    ]
    assert len({embodiment.hash, *(other.hash for other in changed)}) == 5


def test_another_hash_is_refused_with_both(embodiment):
    embodiment.check_same(embodiment.hash, 'here')
    with pytest.raises(ValueError, match=f'policy.onnx: .*{embodiment.hash}.*, got 0123'):
        embodiment.check_same('0123', 'policy.onnx')


def test_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r'embodiment: expected a YAML file, got .*no.yaml'
    ):
        load_embodiment(tmp_path / 'no.yaml')


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('observation_size', 'observaton_size', "did you mean 'observation_size'"),
        ('height: 48', 'hight: 48', r"cameras: unknown key 'hight', did you mean 'height'"),
        ('name: robot', 'zzzzz: 1', "unknown key 'zzzzz'$"),
        ('name: robot', '', "missing 1 required positional argument: 'name'"),
        ('[-1]', '[-1, 2]', r'as many low and high as names \(1\), got 2 and 1'),
        ('[-1]', '[1]', 'expected low < high'),
        ('unit: m', 'unit: m, tokeniser: magic', "tokeniser: expected .*, got 'magic'"),
        ('unit: m', 'unit: m, bins: 10', 'bins: expected an odd number of at least 3, got 10'),
        ('unit: m', 'unit: m, bins: 1', 'bins: expected at least 2 levels, got 1'),
        ('{names: [x], unit: m, low: [-1], high: [1]}', '3', 'expected a mapping for ActionSpace'),
        (MINIMAL, '', 'expected a mapping for Embodiment, got None'),
    ],
)
def test_wrong_file_is_refused_and_says_why(load, old, new, said):
    with pytest.raises(ValueError, match=said):
        load(MINIMAL.replace(old, new))


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('height: 48', 'height: tall', 'height: expected a whole number'),
        ('[32, 32]', '32', 'observation_size: expected a list'),
        ('low: [-1]', 'low: [left]', 'low: expected a number'),
        ('name: robot', 'name: robot\ncontrol_rate_hz: 0', 'control_rate_hz: expected'),
        ('height: 48', 'height: 0', r'wrist: height, width: expected 1 px or more, got \(0, 64\)'),
        ('width: 64', 'width: 64, crop: [32, 0, 64, 48]', 'crop: expected'),
        (MINIMAL.splitlines()[2], 'cameras: []', 'cameras: expected at least one'),
        ('unit: m', 'unit: 5', 'unit: expected text, got 5'),
        ('high: [1]', 'high: [.inf]', 'expected low < high'),
        ('[32, 32]', '[32]', 'observation_size: expected'),
    ],
)
def test_values_that_no_robot_has_are_refused(load, old, new, said):
    with pytest.raises(ValueError, match=said):
        load(MINIMAL.replace(old, new))


def test_action_spec_holds_the_bounds_in_float32():
    space = ActionSpace(('x', 'y'), 'm', low=(-0.1, -0.2), high=(0.1, 0.3))
    assert space.spec.shape == (2,)
    space.spec.check(np.array([-0.2, 0.3], np.float32))
    with pytest.raises(ValueError, match='action'):
        space.spec.check(np.array([0, 0.31], np.float32))


def test_steps_to_go_bins_lie_evenly_from_none_to_most():
    values = StepsToGoRange(max_steps=8, bins=5).values
    assert values.tolist() == [0, 2, 4, 6, 8]
    assert values.dtype == np.float32


def test_embodiment_cannot_be_changed_by_accident(embodiment):
    with pytest.raises(AttributeError):
        embodiment.name = 'other'
    assert hash(embodiment.cameras)
    assert isinstance(embodiment, Embodiment)


def test_a_chunk_of_one_is_the_contract_that_it_always_was(embodiment):
    assert embodiment.action.chunk == 1
    assert replace(embodiment, action=replace(embodiment.action, chunk=1)).hash == embodiment.hash
    assert (embodiment.decision_ns, embodiment.period_ns) == (0, 100_000_000)
    others = [replace(embodiment, action=replace(embodiment.action, chunk=n)) for n in (2, 4)]
    assert len({embodiment.hash, *(other.hash for other in others)}) == 3
    assert others[1].decision_ns == 400_000_000


def test_bins_may_be_one_number_for_each_dimension(load):
    two = MINIMAL.replace('names: [x]', 'names: [x, y]').replace('[-1]', '[-1, -1]')
    space = load(two.replace('high: [1]', 'high: [1, 2], bins: [3, 11], chunk: 4')).action
    assert (space.levels, space.chunk, space.single_step.chunk) == ((3, 11), 4, 1)


@pytest.mark.parametrize(
    ('new', 'said'),
    [
        ('unit: m, bins: [3, 5]', 'bins: expected one for each of 1'),
        ('unit: m, bins: [4]', 'bins: expected an odd number of at least 3, got 4'),
        ('unit: m, bins: [many]', 'bins: expected a whole number'),
        ('unit: m, chunk: 0', 'action.chunk: expected 1 to 100, got 0'),
        ('unit: m, chunk: 1.5', 'chunk: expected a whole number'),
    ],
)
def test_levels_and_chunks_that_no_robot_has_are_refused(load, new, said):
    with pytest.raises(ValueError, match=said):
        load(MINIMAL.replace('unit: m', new))


def test_a_robot_may_not_stop_between_two_rows(embodiment):
    action = replace(embodiment.action, chunk=2)
    with pytest.raises(ValueError, match=r'action_lifetime_s: .*between its rows'):
        replace(embodiment, action=action, action_lifetime_s=0.05)


def test_what_differs_is_named_where_the_other_contract_is_known(embodiment):
    chunked = replace(embodiment, action=replace(embodiment.action, chunk=4))
    older = json.loads(json.dumps(asdict(embodiment)))
    del older['action']['chunk']
    with pytest.raises(ValueError, match=r'\(action.chunk: 4 here, 1 there\)'):
        chunked.check_same(embodiment.hash, 'policy.onnx', older)
