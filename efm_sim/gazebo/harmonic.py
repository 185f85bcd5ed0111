"""
The table for Gazebo Harmonic: a world file, and what its services are asked.

Unlike in MuJoCo and in Gazebo Classic the blocks lie on the table by their weight and by friction:
a model that hangs on the world by joints cannot be put elsewhere by the service. All eight kinds
are there; those that a scene does not have wait on the floor behind the table.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from pathlib import Path
from xml.etree.ElementTree import Element

from efm_sim.gazebo import sdf
from efm_sim.gazebo.scene import lights, surroundings
from efm_sim.gazebo.sdf import leaf, node
from efm_sim.table.config import TableConfig
from efm_sim.table.language import TYPES
from efm_sim.table.scene import CUBE_HALF_SIDE, CYLINDER_RADIUS, MASS, RGBA
from efm_sim.table.world import Table
import numpy as np

WORLD = 'table'
STEP_S = 0.002
GRAVITY = 9.81  # [m/s^2]
FLOOR = -0.45  # its height under the table top [m]
# Names in Gazebo Sim 8, as its own documentation has them.
SYSTEMS = {
    'gz-sim-physics-system': 'gz::sim::systems::Physics',
    'gz-sim-user-commands-system': 'gz::sim::systems::UserCommands',
    'gz-sim-scene-broadcaster-system': 'gz::sim::systems::SceneBroadcaster',
    'gz-sim-sensors-system': 'gz::sim::systems::Sensors',
}
SET_POSES = f'/world/{WORLD}/set_pose_vector'  # gz.msgs.Pose_V -> gz.msgs.Boolean
PARKING = {name: (0.3 * index - 1.05, 1.5) for index, name in enumerate(TYPES)}  # x, y [m]


class Scenes(Table):
    """Where things are at the start of an episode, by its seed; nothing moves in it."""

    def yaws(self) -> dict[str, float]:
        """Return how the blocks are turned [rad]."""
        return {
            name: float(self.data.qpos[self._blocks[index] + 2])
            for name, index in self._slots.items()
        }


def make_harmonic_world(config: TableConfig) -> str:
    """Return the world file; the arm and its camera come from ``urdf/arm.urdf.xacro``."""
    world = node(
        'world',
        leaf('gravity', 0, 0, -GRAVITY),
        node(
            'physics',
            leaf('max_step_size', STEP_S),
            leaf('real_time_factor', 1),
            name='table',
            type='ode',  # asked for by the format; Gazebo Sim takes its own default engine
        ),
        *(_system(filename, name) for filename, name in SYSTEMS.items()),
        *lights(config),
        *_solid(surroundings(config), config),
        *(_block(name, config) for name in TYPES),
        name=WORLD,
    )
    return sdf.to_text(node('sdf', world, version=sdf.VERSION))


def resting_place(name: str, position: tuple[float, float] | None = None) -> tuple[float, ...]:
    """
    Return where the middle of a block is when it lies, (3,) [m].

    :param position: on the table, x and y [m]; None for its place on the floor.
    """
    height = FLOOR if position is None else 0.0
    x, y = PARKING[name] if position is None else position
    return float(x), float(y), height + CUBE_HALF_SIDE


def pose_request(places: Mapping[str, tuple[float, ...]], yaws: Mapping[str, float]) -> str:
    """
    Return a ``gz.msgs.Pose_V`` as text, which puts models where they shall be.

    :param places: of models by name, (3,) [m].
    :param yaws: of those that are turned [rad].
    """
    poses = []
    for name, (x, y, z) in places.items():
        half = yaws.get(name, 0.0) / 2
        poses.append(
            f'pose {{name: "{name}" position {{x: {x:.6f} y: {y:.6f} z: {z:.6f}}} '
            f'orientation {{w: {math.cos(half):.6f} z: {math.sin(half):.6f}}}}}'
        )
    return ' '.join(poses)


def scene_request(blocks: Mapping[str, np.ndarray], yaws: Mapping[str, float]) -> str:
    """
    Return the request for a scene; what it does not have is parked.

    :param blocks: positions of those on the table, (2,) or more [m].
    """
    places = {
        name: resting_place(name, tuple(blocks[name][:2]) if name in blocks else None)
        for name in TYPES
    }
    return pose_request(places, yaws)


def service_command(request: str, timeout_ms: int) -> list[str]:
    """Return the command line that asks Gazebo to set poses."""
    return [
        *('gz', 'service', '-s', SET_POSES),
        *('--reqtype', 'gz.msgs.Pose_V', '--reptype', 'gz.msgs.Boolean'),
        *('--timeout', str(timeout_ms), '--req', request),
    ]


def _system(filename: str, name: str) -> Element:
    engine = node('render_engine', 'ogre2') if name.endswith('Sensors') else None
    return node('plugin', engine, filename=filename, name=name)


def _solid(models: tuple[Element, ...], config: TableConfig) -> tuple[Element, ...]:
    """Return the surroundings; blocks lie on the table top and on the floor."""
    for model in models:
        link = model.find('link')
        shape = link.find('visual/geometry/box/size').text.split()
        place = link.find('visual/pose').text.split()
        link.append(
            node(
                'collision',
                leaf('pose', *map(float, place)),
                sdf.box(*map(float, shape)),
                _friction(config),
                name='hull',
            )
        )
    return models


def _block(name: str, config: TableConfig) -> Element:
    """Return one block, parked."""
    colour, kind = name.split('_')
    mass = MASS * config.mass
    height = 2 * CUBE_HALF_SIDE
    is_round = kind == 'cylinder'
    shape = sdf.cylinder(CYLINDER_RADIUS, height) if is_round else sdf.box(*(height,) * 3)
    link = node(
        'link',
        sdf.inertial(mass, sdf.box_moments(mass, (height,) * 3)),
        sdf.visual('picture', shape, RGBA[colour], (0,) * 6),
        node('collision', shape, _friction(config), name='hull'),
        name='block',
    )
    return node('model', leaf('pose', *resting_place(name), 0, 0, 0), link, name=name)


def _friction(config: TableConfig) -> Element:
    ode = node('ode', leaf('mu', config.friction), leaf('mu2', config.friction))
    return node('surface', node('friction', ode))


def main() -> None:
    """Write the world file of the suite's own table beside the others."""
    path = Path(__file__).resolve().parents[2] / 'worlds' / 'table.harmonic.sdf'
    path.write_text(make_harmonic_world(TableConfig()))


if __name__ == '__main__':
    main()
