"""Simulated worlds by name: the suite's table in MuJoCo or Gazebo, or a Gymnasium environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from efm_core.config import expect
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.embodiment_files import find_embodiment, has_simulation
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.gazebo.world import GazeboTable
from efm_sim.gym.world import GymnasiumWorld, load_world
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table

MUJOCO = 'mujoco'
GAZEBO = 'gazebo'
GYM = 'gym'
SIMULATORS = (MUJOCO, GAZEBO, GYM)


def make_world(
    embodiment: Embodiment | str | Path = '',
    simulator: str = '',
    *,
    table: TableConfig | None = None,
    gazebo: GazeboConfig | None = None,
) -> Table | GymnasiumWorld:
    """
    Return a simulated world in this process, without ROS: an `efm_sim.world.PublishedWorld`.

    Equal seeds give equal scenes.

    :param embodiment: an embodiment, or the name or path of its file. A Gymnasium environment
        needs the file, because the section ``gymnasium`` of the file names the environment.
    :param simulator: ``mujoco`` or ``gazebo`` for the suite's table, ``gym`` for a Gymnasium
        environment. Empty: ``gym`` if the file has that section, otherwise ``mujoco``.
    :param table: parameters of the table; None for the defaults. Control period and image size
        come from the embodiment.
    :param gazebo: more parameters of the table in Gazebo; None for the defaults.
    :raises FileNotFoundError: when the file does not exist, or Gazebo is not set up.
    :raises ValueError: when the simulator is unknown or cannot simulate this embodiment.
    :raises ImportError: when the machine has no headless OpenGL.
    """
    path = None if isinstance(embodiment, Embodiment) else find_embodiment(embodiment)
    simulator = simulator or (GYM if path and has_simulation(path) else MUJOCO)
    expect(simulator in SIMULATORS, 'simulator', ', '.join(SIMULATORS), repr(simulator))
    if simulator == GYM:
        expect(
            path is not None,
            'embodiment',
            'the name or path of a file, because `gym` needs its section `gymnasium`',
            'an Embodiment',
        )
        return load_world(str(path))
    robot = embodiment if isinstance(embodiment, Embodiment) else load_embodiment(str(path))
    config = table_config(robot, table or TableConfig())
    if simulator == GAZEBO:
        return GazeboTable(config, gazebo or GazeboConfig())
    return Table(config)


def table_config(embodiment: Embodiment, table: TableConfig) -> TableConfig:
    """
    Return ``table`` with the control period and the image size of an embodiment.

    :raises ValueError: when the table cannot simulate the embodiment.
    """
    action = embodiment.action
    expect(
        len(action.names) == 2 and action.unit == 'm',
        f'{embodiment.name}: action',
        'two displacements in m, for the simulated table; a Gymnasium environment needs the name '
        'of its file, such as make_world("pusht")',
        f'{", ".join(action.names)} in {action.unit}',
    )
    cameras = ', '.join(camera.name for camera in embodiment.cameras)
    single = len(embodiment.cameras) == 1
    expect(single, f'{embodiment.name}: cameras', 'one, for the simulated table', cameras)
    return replace(
        table,
        control_period_s=embodiment.period_ns / 1e9,
        image_size=embodiment.cameras[0].height,
    )
