"""The directory of a run and its embodiment; stage 1 in it; the ROS domain of its processes."""

from __future__ import annotations

import json

from efm.graphs import in_domain, report_recorded
from efm.train import train
from efm_bringup.processes import environment, ProcessConfig
from efm_bringup.run import open_run
from efm_core.embodiment_files import find_embodiment
from efm_trainer.config import SftConfig
import pytest
from rich.console import Console


@pytest.fixture
def other(tmp_path):
    """Return the file of another robot."""
    path = tmp_path / 'other.yaml'
    path.write_text(find_embodiment('').read_text().replace('table_arm', 'other_arm'))
    return path


def test_a_run_keeps_the_robot_that_its_first_command_named(tmp_path, other):
    run = str(tmp_path / 'run')
    copy = open_run(run, str(other))
    assert copy.read_text() == other.read_text()
    assert open_run(run, '') == copy
    assert copy.read_text() == other.read_text()


def test_a_run_of_another_robot_is_refused(tmp_path, other):
    run = str(tmp_path / 'run')
    open_run(run, '')
    with pytest.raises(ValueError, match=r'expected embodiment .*other_arm'):
        open_run(run, str(other))


def test_a_changed_section_that_is_no_part_of_the_contract_is_taken_and_said(tmp_path, capsys):
    run = str(tmp_path / 'run')
    source = tmp_path / 'pusht.yaml'
    source.write_text(find_embodiment('pusht').read_text())
    open_run(run, str(source))
    assert capsys.readouterr().err == ''
    source.write_text(source.read_text().replace('success_at: 0.8', 'success_at: 0.9'))
    copy = open_run(run, str(source))
    assert copy.read_text() == source.read_text()
    assert f'{copy}: takes the changes of {source}' in capsys.readouterr().err
    open_run(run, str(source))
    open_run(run, '')
    assert capsys.readouterr().err == ''


def test_instructions_that_stage_one_may_not_take_are_reported_after_the_recording(
    tmp_path, capsys
):
    """Not first by `efm train`, after all demonstrations."""
    results = tmp_path / 'demonstration.jsonl'
    report_recorded(results)
    words = ('pour espresso', 'push the red cube', 'pour espresso', 'push ' * 70, '')
    lines = [json.dumps({'instruction': sentence}) for sentence in words]
    results.write_text('\n'.join([*lines, '[]', '{"instru']))
    report_recorded(results)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "'pour espresso' has many rare words" in said[0]
    assert 'at most 64 word pieces, got 72; `efm train` will refuse it' in said[1]


def test_a_second_stage_one_in_a_run_is_refused_at_once(tmp_path):
    (tmp_path / 'releases').mkdir()
    with pytest.raises(FileExistsError, match='run: expected one before stage 1'):
        train(tmp_path, find_embodiment(''), SftConfig(), Console())


def test_a_simulated_run_has_its_own_domain_and_a_real_robot_that_of_the_shell(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '42')
    own = ProcessConfig()
    assert in_domain(own, 'mujoco').domain_id == -1
    assert in_domain(own, 'real').domain_id == 42
    assert in_domain(ProcessConfig(domain_id=7), 'real').domain_id == 7


def test_discovery_stays_on_this_host_by_default():
    assert environment(3, ProcessConfig().discovery_range)['ROS_AUTOMATIC_DISCOVERY_RANGE'] == (
        'LOCALHOST'
    )
