"""The public Python API: which names there are, and what importing them loads."""

import ast
import importlib
import inspect
import subprocess
import sys

import efm
import pytest
from sources import ROOT

NAMES = [
    'Embodiment',
    'Episode',
    'LabelledAttempt',
    'Policy',
    'RewardModel',
    'demonstrate',
    'evaluate',
    'fine_tune',
    'load_checkpoints',
    'load_embodiment',
    'load_release',
    'make_world',
    'practise',
    'publish_release',
    'read_episodes',
    'read_labelled_attempts',
    'rollout',
    'run_graph',
]
NEED_TORCH = {'fine_tune', 'load_checkpoints', 'practise'}
HEAVY = ('torch', 'rclpy', 'launch', 'mujoco', 'onnxruntime', 'transformers', 'gymnasium')
OPTIONAL = ('torch', 'rclpy')


def loaded_by(code: str, modules: tuple[str, ...]) -> set[str]:
    """Return which of the modules a fresh Python has loaded after it ran ``code``."""
    report = f'{code}\nimport sys\nprint(*sorted(set({modules!r}) & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', report], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_list_of_names_changes_only_with_this_test():
    assert efm.__all__ == NAMES
    assert set(NAMES) <= set(dir(efm))


def test_importing_efm_loads_nothing_heavy():
    assert loaded_by('import efm', HEAVY) == set()


def test_the_names_of_a_robot_load_neither_torch_nor_ros():
    names = ', '.join(sorted(set(NAMES) - NEED_TORCH))
    assert loaded_by(f'from efm import {names}', OPTIONAL) == set()


@pytest.mark.parametrize('name', NAMES)
def test_every_name_is_the_object_of_its_module(name):
    value = getattr(efm, name)
    assert value is getattr(importlib.import_module(value.__module__), name)
    assert getattr(efm, name) is value


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'efm' has no attribute 'train_everything'"):
        _ = efm.train_everything


def test_no_module_of_the_package_hides_a_public_name():
    modules = {path.stem for path in (ROOT / 'efm').glob('*.py')}
    assert not modules & set(NAMES)


def test_type_checkers_see_the_same_names_from_the_same_modules():
    tree = ast.parse((ROOT / 'efm' / '__init__.py').read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == efm._MODULES
    assert (ROOT / 'efm' / 'py.typed').is_file()


@pytest.mark.parametrize('name', NAMES)
def test_every_name_is_documented_with_its_parameters(name):
    value = getattr(efm, name)
    text = inspect.getdoc(value)
    assert text
    if inspect.isfunction(value):
        missing = [p for p in inspect.signature(value).parameters if f':param {p}:' not in text]
        assert not missing
