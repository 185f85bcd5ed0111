"""Which file may import what."""

from __future__ import annotations

import ast
from pathlib import Path
import re
import subprocess
import sys

import pytest
from sources import imports, name, python_files, ROOT

ROS = re.compile(
    r'(rclpy|rosidl\w*|ament_\w+|launch(_\w+)?|std_srvs|\w+_msgs|\w+_interfaces)(\.|$)'
)
MAY_IMPORT_ROS = re.compile(
    r'efm_\w+/(node|\w+_node)\.py|efm_core/ros_\w+\.py|efm_bringup/launching\.py'
    r'|(launch|benchmarks|test/ros|test/graph)/.*'
)
LEARNING = re.compile(r'(torch|transformers)(\.|$)')
ROBOT_SIDE = (
    'efm_policy.node',
    'efm_policy.remote_node',
    'efm_reward.node',
    'efm_supervisor.node',
    'efm_supervisor.guard_node',
    'efm_supervisor.recorder_node',
    'efm_supervisor.fleet_node',
    'efm_sim.node',
    'efm_sim.fake_driver_node',
    'efm_gazebo.driver_node',
)


def module_file(module: str) -> Path | None:
    """Return the file of one of our modules."""
    path = ROOT / module.replace('.', '/')
    return next((p for p in (path.with_suffix('.py'), path / '__init__.py') if p.is_file()), None)


def reachable(module: str) -> dict[str, Path]:
    """Return our modules that an import of ``module`` brings in, itself and packages included."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        path = module_file(current)
        if path and current not in found and current.startswith('efm_'):
            found[current] = path
            package = current.rpartition('.')[0]
            waiting += [package, *(target for target, _ in imports(path, only_on_import=True))]
    return found


def functions_that_import(path: Path, forbidden: re.Pattern) -> list[str]:
    """Return the functions of a file whose own body imports something forbidden."""
    functions = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)
    ]
    lines = {node.lineno for target, node in imports(path) if forbidden.match(target)}
    return [f.name for f in functions if any(f.lineno <= line <= f.end_lineno for line in lines)]


def test_ros_is_imported_at_the_edge_only():
    wrong = [
        f'{name(path)}:{node.lineno}: {target}'
        for path in python_files()
        if not MAY_IMPORT_ROS.fullmatch(name(path))
        for target, node in imports(path)
        if ROS.match(target)
    ]
    assert not wrong


@pytest.mark.parametrize('module', ROBOT_SIDE)
def test_robot_side_reaches_no_torch(module):
    found = reachable(module)
    assert module in found
    wrong = [
        f'{name(path)}:{node.lineno}: {target}'
        for path in found.values()
        for target, node in imports(path, only_on_import=True)
        if LEARNING.match(target)
    ]
    assert not wrong


def test_on_the_robot_side_torch_serves_export_only():
    paths = {path for module in ROBOT_SIDE for path in reachable(module).values()}
    wrong = [
        f'{name(path)}: {function}'
        for path in paths
        for function in functions_that_import(path, LEARNING)
        if 'export' not in function
    ]
    assert not wrong


def test_robot_side_loads_no_torch_when_it_runs():
    pytest.importorskip('rclpy', reason='needs rclpy')
    code = (
        f'import importlib, sys\nfor name in {ROBOT_SIDE!r}: importlib.import_module(name)\n'
        'print(*sorted({"torch", "transformers"} & set(sys.modules)))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ''
