"""The directory of a run and its contract; stage 1 in it; who may hear its processes."""

from __future__ import annotations

from efm.graphs import in_domain
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


def test_a_run_is_fine_tuned_once_and_says_so_at_once(tmp_path):
    (tmp_path / 'releases').mkdir()
    with pytest.raises(FileExistsError, match='run: expected one that is not fine-tuned yet'):
        train(tmp_path, find_embodiment(''), SftConfig(), Console())


def test_a_simulated_run_has_a_domain_of_its_own_and_a_real_robot_the_shells(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '42')
    own = ProcessConfig()
    assert in_domain(own, 'mujoco').domain_id == -1
    assert in_domain(own, 'real').domain_id == 42
    assert in_domain(ProcessConfig(domain_id=7), 'real').domain_id == 7


def test_nobody_else_on_the_network_hears_unless_asked():
    assert environment(3, ProcessConfig().discovery_range)['ROS_AUTOMATIC_DISCOVERY_RANGE'] == (
        'LOCALHOST'
    )
