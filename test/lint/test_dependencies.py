"""Which file may import what."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
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
    r'efm_\w+/(\w+/)?(node|\w+_node|ros_\w+)\.py|efm_bringup/launching\.py'
    r'|(launch|benchmarks|test/ros|test/graph|test/fuzz|test/launch)/.*'
)
# Each room, and the rooms that it may import; the longest matching path is a file's room.
ROOMS = {
    'efm_core': (),
    'efm_guard': ('efm_core',),
    'efm_data': ('efm_core',),
    'efm_supervisor': ('efm_core',),
    'efm_model': ('efm_core',),
    'efm_release': ('efm_core', 'efm_model', 'efm_release/release.py'),
    'efm_release/release.py': ('efm_core',),
    'efm_reward': ('efm_core', 'efm_model', 'efm_release/release.py'),
    'efm_policy': ('efm_core', 'efm_model', 'efm_release/release.py'),
    'efm_trainer': ('efm_core', 'efm_data', 'efm_model', 'efm_release*', 'efm_reward'),
    'efm_evaluation': ('efm_core', 'efm_data'),
    'efm_sim/graphics.py': (),
    'efm_sim/scene.py': ('efm_core',),
    'efm_sim/table': ('efm_core', 'efm_sim/graphics.py', 'efm_sim/scene.py'),
    'efm_sim/gazebo': (
        'efm_core',
        'efm_sim/graphics.py',
        'efm_sim/table',
    ),  # the same table, simulated by Gazebo
    'efm_sim/gym': ('efm_core', 'efm_sim/graphics.py', 'efm_sim/scene.py'),
    'efm_sim/fake_arm': ('efm_core',),
    'efm_sim': ('efm_core', 'efm_sim/*'),
    'efm_bringup': (
        'efm_core',
        'efm_guard',
        'efm_release/release.py',
        'efm_sim',
        'efm_sim/gym',
        'efm_sim/table',
    ),
    'efm_experiments': ('efm_*',),
    'efm': ('efm_*',),
}
# Rooms that only the files named may import, whatever ROOMS says.
ONLY_FOR = {'efm': ('efm/',), 'efm_experiments': ('efm/cli.py', 'efm_experiments/')}
# The files that name the topic of simulator truth; none is of the supervisor or the trainer.
NAME_THE_TRUTH = {
    'efm_core/topics.py',
    'efm_data/bag_reader.py',
    'efm_data/completeness.py',
    'efm_data/episodes.py',
    'efm_sim/demonstrator_node.py',
    'efm_sim/ros_publisher.py',
    'efm_supervisor/ros_reached.py',
}
PACKAGES = {room.split('/')[0] for room in ROOMS} | {'efm_interfaces'}
LEARNING = re.compile(r'(torch|transformers)(\.|$)')
ROBOT_SIDE = (
    'efm_policy.node',
    'efm_policy.remote_node',
    'efm_reward.node',
    'efm_supervisor.node',
    'efm_guard.node',
    'efm_guard.watch_node',
    'efm_data.recorder_node',
    'efm_supervisor.fleet_node',
    'efm_sim.node',
    'efm_sim.fake_arm.node',
    'efm_sim.gazebo.driver_node',
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
        if path and current not in found and current.split('.')[0] in PACKAGES:
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
    return [
        f.name
        for f in functions
        if any(f.lineno <= line <= (f.end_lineno or f.lineno) for line in lines)
    ]


def room_of(path: str) -> str:
    """Return the room that a file or module lies in."""
    matching = [room for room in ROOMS if path == room or path.startswith(f'{room}/')]
    return max(matching, key=len, default='')


def first_party_imports(path: Path) -> set[str]:
    """Return the paths of our modules that a file imports, without ``efm_interfaces``."""
    modules = {target for target, _ in imports(path) if target.split('.')[0] in PACKAGES}
    files = {module_file(module) for module in modules if not module.startswith('efm_interfaces')}
    return {name(file) for file in files if file}


def forbidden_imports(file: str, imported: set[str]) -> list[str]:
    """Return which of the imported files a file may not import."""
    room = room_of(file)
    allowed = (room, *ROOMS[room])
    return sorted(
        path
        for path in imported
        if not any(fnmatch(room_of(path), pattern) for pattern in allowed)
        or not file.startswith(ONLY_FOR.get(room_of(path), ''))
    )


@pytest.mark.parametrize('room', ROOMS)
def test_room_exists(room):
    assert (ROOT / room).exists()


def test_every_folder_of_the_suite_is_a_room():
    folders = {path.name for path in ROOT.glob('efm*') if (path / '__init__.py').is_file()}
    assert folders == PACKAGES - {'efm_interfaces'}


def test_a_room_imports_only_what_the_table_allows():
    wrong = {
        name(path): forbidden_imports(name(path), first_party_imports(path))
        for path in python_files()
        if room_of(name(path))
    }
    assert not {path: imported for path, imported in wrong.items() if imported}


@pytest.mark.parametrize(
    ('file', 'imported'),
    [
        ('efm_trainer/trainer.py', 'efm_sim/table/world.py'),
        ('efm_reward/model.py', 'efm_sim/rollout.py'),
        ('efm_model/network.py', 'efm_sim/table/language.py'),
        ('efm_guard/guard.py', 'efm_supervisor/supervisor.py'),
        ('efm_supervisor/node.py', 'efm_model/runtime.py'),
        ('efm_data/episodes.py', 'efm_trainer/dataset.py'),
        ('efm_sim/gym/world.py', 'efm_sim/table/world.py'),
        ('efm_release/release.py', 'efm_model/export.py'),
        ('efm_bringup/graph.py', 'efm_experiments/runner.py'),
        ('efm_experiments/runner.py', 'efm/cli.py'),
        ('efm/train.py', 'efm_experiments/runner.py'),
    ],
)
def test_the_table_forbids(file, imported):
    assert (ROOT / file).is_file()
    assert (ROOT / imported).is_file()
    assert forbidden_imports(file, {imported}) == [imported]


def test_only_the_files_that_are_listed_name_the_topic_of_simulator_truth():
    files = [path for path in python_files() if room_of(name(path))]
    naming = {name(path) for path in files if 'WORLD_STATE' in path.read_text()}
    assert naming == NAME_THE_TRUTH
    truth = 'efm_supervisor/ros_reached.py'
    readers = {name(path) for path in files if truth in first_party_imports(path)}
    assert readers == {'efm_supervisor/fleet_node.py'}  # which passes it to the results file only


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
