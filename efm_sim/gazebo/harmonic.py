"""
The table for Gazebo Harmonic: its world file and the requests to its services.

Unlike in MuJoCo and in Gazebo Classic, weight and friction hold the blocks on the table, because
the service cannot move a model that joints attach to the world. The world has all eight block
types. Blocks that a scene does not have lie on the floor behind the table.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from pathlib import Path
from xml.etree.ElementTree import Element

from efm_sim.gazebo import sdf
from efm_sim.gazebo.classic import lights, make_static, StaticBox, surroundings
from efm_sim.gazebo.sdf import element, leaf
from efm_sim.table.config import TableConfig
from efm_sim.table.language import TYPES
from efm_sim.table.scene import CUBE_HALF_SIDE, CYLINDER_RADIUS, MASS, RGBA
import numpy as np

WORLD = 'table'
STEP_S = 0.002  # physics step
GRAVITY = 9.81  # [m/s^2]
FLOOR = -0.45  # height of the floor relative to the table top [m]
# Libraries and classes of Gazebo Sim 8, from its documentation.
SYSTEMS = {
    'gz-sim-physics-system': 'gz::sim::systems::Physics',
    'gz-sim-user-commands-system': 'gz::sim::systems::UserCommands',
    'gz-sim-scene-broadcaster-system': 'gz::sim::systems::SceneBroadcaster',
    'gz-sim-sensors-system': 'gz::sim::systems::Sensors',
}
SET_POSES = f'/world/{WORLD}/set_pose_vector'  # gz.msgs.Pose_V -> gz.msgs.Boolean
PARKING = {name: (0.3 * index - 1.05, 1.5) for index, name in enumerate(TYPES)}  # x, y [m]


def make_harmonic_world(config: TableConfig) -> str:
    """Return the world file. Arm and camera are not in it; ``urdf/arm.urdf.xacro`` has them."""
    world = element(
        'world',
        leaf('gravity', 0, 0, -GRAVITY),
        element(
            'physics',
            leaf('max_step_size', STEP_S),
            leaf('real_time_factor', 1),
            name='table',
            type='ode',  # the format requires a type; Gazebo Sim uses its default engine
        ),
        *(_system(filename, name) for filename, name in SYSTEMS.items()),
        *lights(config),
        *(_solid(part, config) for part in surroundings(config)),
        *(_block(name, config) for name in TYPES),
        name=WORLD,
    )
    return sdf.to_text(element('sdf', world, version=sdf.VERSION))


def resting_place(name: str, position: np.ndarray | None = None) -> tuple[float, ...]:
    """
    Return the centre of a block at rest, ``(3,)`` [m].

    :param position: x and y on the table [m]; None for the block's place on the floor.
    """
    height = FLOOR if position is None else 0.0
    x, y = PARKING[name] if position is None else position
    return float(x), float(y), height + CUBE_HALF_SIDE


def pose_request(places: Mapping[str, tuple[float, ...]], yaws: Mapping[str, float]) -> str:
    """
    Return the poses of models as the text of a ``gz.msgs.Pose_V``.

    :param places: positions by model name, ``(3,)`` each [m].
    :param yaws: yaws by model name [rad]; 0 if absent.
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
    Return the request that makes a scene; all other blocks go to the floor.

    :param blocks: positions of the blocks on the table by name; x and y come first [m].
    :param yaws: yaws of the blocks by name [rad].
    """
    places = {
        name: resting_place(name, blocks[name][:2] if name in blocks else None) for name in TYPES
    }
    return pose_request(places, yaws)


def service_command(request: str, timeout_ms: int) -> list[str]:
    """Return the command line that sets poses in Gazebo; ``request`` as `pose_request`."""
    return [
        *('gz', 'service', '-s', SET_POSES),
        *('--reqtype', 'gz.msgs.Pose_V', '--reptype', 'gz.msgs.Boolean'),
        *('--timeout', str(timeout_ms), '--req', request),
    ]


def _system(filename: str, name: str) -> Element:
    engine = element('render_engine', 'ogre2') if name.endswith('Sensors') else None
    return element('plugin', engine, filename=filename, name=name)


def _solid(part: StaticBox, config: TableConfig) -> Element:
    """Return a static box with a collision: blocks lie on the table top and on the floor."""
    collision = element(
        'collision',
        leaf('pose', *part.centre, 0, 0, 0),
        sdf.box(*part.sides),
        _friction(config),
        name='hull',
    )
    return make_static(part, collision)


def _block(name: str, config: TableConfig) -> Element:
    """Return one block at its place on the floor."""
    colour, kind = name.split('_')
    mass = MASS * config.mass
    height = 2 * CUBE_HALF_SIDE
    is_round = kind == 'cylinder'
    shape = sdf.cylinder(CYLINDER_RADIUS, height) if is_round else sdf.box(*(height,) * 3)
    link = element(
        'link',
        sdf.inertial(mass, sdf.box_moments(mass, (height,) * 3)),
        sdf.visual('picture', shape, RGBA[colour], (0,) * 6),
        element('collision', shape, _friction(config), name='hull'),
        name='block',
    )
    return element('model', leaf('pose', *resting_place(name), 0, 0, 0), link, name=name)


def _friction(config: TableConfig) -> Element:
    ode = element('ode', leaf('mu', config.friction), leaf('mu2', config.friction))
    return element('surface', element('friction', ode))


def main() -> None:
    """Write ``worlds/table.harmonic.sdf``, the world file of the default table."""
    path = Path(__file__).resolve().parents[2] / 'worlds' / 'table.harmonic.sdf'
    path.write_text(make_harmonic_world(TableConfig()))


if __name__ == '__main__':
    main()
