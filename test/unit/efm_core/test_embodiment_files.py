from pathlib import Path

from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import find_embodiment, save_embodiment, shipped_embodiments
import pytest
from sources import ROOT

SHIPPED = ROOT / 'config' / 'embodiments'


def test_the_default_is_the_simulated_table():
    assert find_embodiment() == find_embodiment('') == SHIPPED / 'table_arm.yaml'


def test_every_shipped_embodiment_is_found_by_its_name():
    names = shipped_embodiments()
    assert names == tuple(sorted(path.stem for path in SHIPPED.glob('*.yaml')))
    assert [find_embodiment(name) for name in names] == [SHIPPED / f'{n}.yaml' for n in names]


@pytest.mark.parametrize('path', ['my_arm.yaml', './ur5e', Path('arms/mine'), '/etc/arm.yml'])
def test_a_path_stays_a_path(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_embodiment(path) == tmp_path / path


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"one of aloha, .*ur5e.*, got 'ur10'"):
        find_embodiment('ur10')


@pytest.mark.parametrize('name', shipped_embodiments())
def test_a_saved_embodiment_is_the_same_robot(name, tmp_path):
    robot = load_embodiment(find_embodiment(name))
    saved = load_embodiment(save_embodiment(robot, tmp_path / 'robot.yaml'))
    assert saved == robot
    assert saved.hash == robot.hash
