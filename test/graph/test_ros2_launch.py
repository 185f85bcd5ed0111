"""The launch files under the real `launch` and `launch_ros`; skipped where those are missing."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys

from colcon_prefix import make_prefix, prefix_environment
from efm_bringup.config import GraphConfig
from efm_core.config import flag_of
import psutil
import pytest
from sources import ROOT
from waiting import wait_for, wait_for_exit

reading = pytest.importorskip(
    'launch.launch_description_sources', reason='`launch` is not here; docs/launch.md says how'
)
pytest.importorskip('launch_ros', reason='`launch_ros` is not here; docs/launch.md says how')
FILES = [path for path in sorted((ROOT / 'launch').glob('*.py')) if 'harmonic' not in path.name]
RUNNER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
service = LaunchService(noninteractive=True)
words = [word.split(':=') for word in sys.argv[2:]]
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(sys.argv[1], launch_arguments=words)])
)
sys.exit(service.run())
"""


@pytest.fixture(scope='module')
def prefix(tmp_path_factory):
    """Return a prefix as colcon makes it, in which the package is the sources."""
    return make_prefix(tmp_path_factory.mktemp('prefix'))


@pytest.fixture
def start(prefix, tmp_path, monkeypatch):
    """Return a function that starts a launch file; nothing is left afterwards."""
    for name, value in prefix_environment(prefix).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    started = []

    def start(name, *words):
        said = open(tmp_path / 'said.txt', 'w')  # noqa: SIM115, closed below
        process = psutil.Popen(
            [sys.executable, '-c', RUNNER, str(ROOT / 'launch' / f'{name}.launch.py'), *words],
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        started.append((process, said))
        return process

    yield start
    for process, said in started:
        crew = process.children(recursive=True) if process.is_running() else []
        for survivor in (process, *crew):
            if survivor.is_running():
                survivor.kill()
        process.wait()
        said.close()


def node(process, module):
    """Return the process of a node, or None."""
    return next(
        (
            child
            for child in process.children(recursive=True)
            if child.is_running() and module in child.cmdline()
        ),
        None,
    )


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name.split('.')[0])
def test_launch_reads_every_file_and_its_arguments(path):
    description = reading.get_launch_description_from_python_launch_file(str(path))
    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    assert {flag_of(field) for field in dataclasses.fields(GraphConfig)} <= arguments.keys()
    for argument in arguments.values():
        assert argument.description
        assert argument.default_value is not None


def test_a_fleet_that_is_done_ends_its_launch_with_code_0(start, lab):
    process = start(
        'evaluate', f'run:={lab.run}', 'fleet:=1', 'body:=tool', 'max_steps:=5', 'episodes:=2'
    )
    assert wait_for_exit(process, 180) == 0
    assert len(lab.results('evaluate')) == 2


def test_a_launched_robot_may_have_its_policy_elsewhere(start, lab):
    with lab.served() as (_, where, _):
        words = ('fleet:=1', 'body:=tool', 'max_steps:=5', 'episodes:=2', f'server:={where}')
        assert wait_for_exit(start('evaluate', f'run:={lab.run}', *words), 180) == 0
    assert len(lab.results('evaluate')) == 2


def test_practice_in_a_namespace_goes_on_when_a_policy_was_killed(start, lab):
    """It comes back, and every episode that was asked for is done and learned from."""
    words = ('body:=tool', 'max_steps:=5', 'episodes:=16', 'namespace:=lab')
    process = start('practice', f'run:={lab.run}', 'fleet:=1', 'use_respawn:=True', *words)
    wait_for(lambda: lab.results('practice'), 'the first episode')
    first = node(process, 'efm_policy.node')
    first.send_signal(signal.SIGKILL)
    wait_for(lambda: node(process, 'efm_policy.node') not in (None, first), 'another policy')
    assert wait_for_exit(process, 300) == 0
    lines = [json.loads(line) for line in lab.results('practice')]
    assert {line['index'] for line in lines if line['termination'] != 'fault'} == set(range(16))
    assert {line['robot'] for line in lines} == {'lab/robot_0'}


def test_a_fleet_that_gave_up_ends_its_launch_with_code_1(start, lab, tmp_path):
    path = tmp_path / 'parameters.yaml'
    path.write_text('fleet: {ros__parameters: {ready_timeout_s: 1.0}}\n')
    process = start('fleet', f'run:={lab.run}', 'mode:=evaluate', f'params_file:={path}')
    assert wait_for_exit(process, 60) == 1
    assert 'the fleet failed with code 1' in (tmp_path / 'said.txt').read_text()


def test_what_cannot_be_meant_is_refused_before_anything_starts(start, lab, tmp_path):
    process = start('practice', f'run:={lab.run}', 'use_composition:=True')
    assert wait_for_exit(process, 60) == 1
    said = (tmp_path / 'said.txt').read_text()
    assert 'use_composition: expected false' in said
    assert 'process started' not in said
