"""The factory of simulated worlds."""

from __future__ import annotations

from dataclasses import replace

from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import find_embodiment, save_embodiment
from efm_sim.gym.world import GymnasiumWorld
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from efm_sim.worlds import make_world, table_config
from models import table_arm
import numpy as np
import pytest

TOOL = TableConfig(body='tool')


def test_the_default_world_is_the_table_in_mujoco():
    world = make_world(table=TOOL)
    assert type(world) is Table
    world.reset(3)
    other = make_world(table_arm(), 'mujoco', table=TOOL)
    other.reset(3)
    assert world.instruction == other.instruction
    np.testing.assert_array_equal(world.tool_position(), other.tool_position())


def test_the_embodiment_sets_control_period_and_image_size_of_the_table(tmp_path):
    robot = table_arm(control_rate_hz=5.0)
    camera = replace(robot.cameras[0], height=96, width=96)
    robot = replace(robot, cameras=(camera,))
    path = save_embodiment(robot, tmp_path / 'slow.yaml')
    world = make_world(path, table=TOOL)
    assert (world.config.control_period_s, world.config.image_size) == (0.2, 96)
    assert world.config.body == 'tool'


def test_a_file_with_a_gymnasium_section_makes_that_environment():
    pytest.importorskip('gym_pusht')
    world = make_world('pusht')
    assert isinstance(world, GymnasiumWorld)
    assert world.instruction == 'push the T onto its green outline'
    world.close()


@pytest.mark.parametrize('name', ['pusht', 'ur5e'])
def test_the_table_refuses_an_embodiment_that_it_cannot_simulate(name):
    robot = load_embodiment(find_embodiment(name))
    with pytest.raises(ValueError, match=f'{name}: action: expected two displacements in m'):
        table_config(robot, TableConfig())
    with pytest.raises(ValueError, match='such as make_world'):
        make_world(robot)


def test_a_gymnasium_environment_needs_the_file():
    with pytest.raises(ValueError, match='expected the name or path of a file'):
        make_world(table_arm(), 'gym')


def test_an_unknown_simulator_is_refused():
    with pytest.raises(ValueError, match="expected mujoco, gazebo, gym, got 'isaac'"):
        make_world(simulator='isaac')


def test_an_error_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.yaml'):
        make_world(tmp_path / 'none.yaml')
