"""
The world file of the table, made from the numbers of the MuJoCo scene (``efm_sim.table.scene``).

As there, nothing falls, blocks slide and turn in the plane against a viscous table, and only the
tool and the blocks touch.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from efm_sim.gazebo import sdf
from efm_sim.gazebo.arm import ARM, make_arm
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.gazebo.sdf import leaf, node
from efm_sim.table.config import TableConfig
from efm_sim.table.domain import camera_pose, paint
from efm_sim.table.scene import (
    ARM_JOINTS,
    ARM_SERVO,
    BAR_HALF_SIDES,
    BASE,
    BLOCK_LIMIT,
    BLOCK_TURN_DRAG,
    CUBE_HALF_SIDE,
    CYLINDER_RADIUS,
    MASS,
    RGBA,
    SLIDE_DRAG,
    SLOTS_OF,
    TIP_HEIGHT,
    TOOL_RADIUS,
)
import numpy as np

WORLD = 'table'
CAMERA = 'policy'
PLUGIN = 'libefm_table.so'
OVERSAMPLING = 2  # pictures are drawn this much larger, as MuJoCo's are
FIELD_OF_VIEW = 20.0  # [deg]
SLIDER_SHARE = 0.05  # of a block's mass in each of the two links that it slides on
HEADLIGHT = {'ambient': 0.1, 'diffuse': 0.4}  # MuJoCo's own lamp, which the camera carries
LAMP = {'ambient': 0.2, 'diffuse': 0.55, 'direction': (0.45, 0.35, -1.0)}
GREY_TABLE = (0.80, 0.77, 0.72)
GREY_FLOOR = (0.42, 0.44, 0.47)
GREY_STAND = (0.3, 0.31, 0.33)
AXES = {'x': (1, 0, 0), 'y': (0, 1, 0), 'yaw': (0, 0, 1)}
# As soft as MuJoCo's contacts; with ODE's own, what is squeezed at the table's edge jumps away.
CONTACT_STIFFNESS = 2000.0  # [N/m]
CONTACT_DAMPING = 40.0  # [N s/m]
DAMPING_LIMIT = 0.5  # largest share of its speed that a block may lose in a physics step


def make_world(
    config: TableConfig, numbers: GazeboConfig, plugins: tuple[Element, ...] = ()
) -> str:
    """
    Return the world file for Gazebo Classic 11.

    :param plugins: what drives it; none for our own plugin, which plays it in lockstep.
    :raises ValueError: when the drag is too strong for the physics step.
    """
    _check_drag(config, numbers)
    driver = node('plugin', leaf('gain', ARM_SERVO.frequency), name='efm_table', filename=PLUGIN)
    world = node(
        'world',
        leaf('gravity', 0, 0, 0),
        _physics(config, numbers),
        *lights(config),
        *surroundings(config),
        make_arm() if config.body == 'arm' else make_tool(),
        *(make_block(slot, config) for slot in SLOTS_OF[config.objects]),
        _camera(config),
        *(plugins or (driver,)),
        name=WORLD,
    )
    return sdf.to_text(node('sdf', world, version=sdf.VERSION))


def joint_names(config: TableConfig) -> tuple[str, ...]:
    """Return Gazebo's names of the joints that carry the tool, in the table's own order."""
    if config.body == 'arm':
        return tuple(f'{ARM}::{name}' for name in ARM_JOINTS)
    return ('tool::x', 'tool::y')


def block_joints(slot: str) -> tuple[str, ...]:
    """Return Gazebo's names of a block's joints: x, y and yaw."""
    return tuple(f'{slot}::{name}' for name in AXES)


def make_block(slot: str, config: TableConfig) -> Element:
    """Return one block on its two sliders; it turns on the second of them."""
    is_bar = slot == 'bar'
    mass = MASS * config.mass
    sides = (BAR_HALF_SIDES if is_bar else (CUBE_HALF_SIDE,) * 2) + (CUBE_HALF_SIDE,)
    sides = tuple(2 * half for half in sides)
    is_round = slot.startswith('cylinder')
    shape = sdf.cylinder(CYLINDER_RADIUS, 2 * CUBE_HALF_SIDE) if is_round else sdf.box(*sides)
    # At the height where things touch, a sphere is the same disc, and ODE knows it exactly.
    hull = sdf.sphere(CYLINDER_RADIUS) if is_round else shape
    block = node(
        'link',
        sdf.inertial(mass * (1 - 2 * SLIDER_SHARE), sdf.box_moments(mass, sides)),
        sdf.visual('picture', shape, paint(RGBA['yellow'], config.hue_deg), (0,) * 6),
        _collision(hull, config),
        name='block',
    )
    slide = {'damping': SLIDE_DRAG * config.drag, 'limit': BLOCK_LIMIT}
    return node(
        'model',
        leaf('pose', 0, 0, CUBE_HALF_SIDE, 0, 0, 0),
        *(_slider(name, mass) for name in ('x_slider', 'y_slider')),
        block,
        _joint('x', 'world', 'x_slider', **slide),
        _joint('y', 'x_slider', 'y_slider', **slide),
        _joint('yaw', 'y_slider', 'block', damping=_turn_drag(slot) * config.drag),
        name=slot,
    )


def make_tool() -> Element:
    """Return the floating tool on its two sliders, which ``joint_names`` drive."""
    rod = sdf.cylinder(TOOL_RADIUS, 0.06)
    tip = node(
        'link',
        sdf.inertial(0.3, sdf.box_moments(0.3, (2 * TOOL_RADIUS, 2 * TOOL_RADIUS, 0.06))),
        sdf.visual('picture', rod, (0.08, 0.08, 0.09), (0, 0, 0.01, 0, 0, 0)),
        _collision(sdf.sphere(TOOL_RADIUS), None),
        name='tool_tip',
    )
    return node(
        'model',
        leaf('pose', 0, 0, TIP_HEIGHT, 0, 0, 0),
        _slider('x_slider', 0.3),
        tip,
        _joint('x', 'world', 'x_slider', effort=150.0),
        _joint('y', 'x_slider', 'tool_tip', effort=150.0),
        name='tool',
    )


def _joint(
    name: str,
    parent: str,
    child: str,
    damping: float = 0.0,
    limit: float = 1e16,
    effort: float = -1,
) -> Element:
    axis = node(
        'axis',
        leaf('xyz', *AXES[name]),
        node('dynamics', leaf('damping', damping)),
        node('limit', leaf('lower', -limit), leaf('upper', limit), leaf('effort', effort)),
    )
    kind = 'revolute' if name == 'yaw' else 'prismatic'
    return node('joint', node('parent', parent), node('child', child), axis, name=name, type=kind)


def _slider(name: str, mass: float) -> Element:
    share = mass * SLIDER_SHARE
    return node('link', sdf.inertial(share, sdf.box_moments(share, (0.04,) * 3)), name=name)


def _collision(geometry: Element, config: TableConfig | None) -> Element:
    friction = config.friction if config else 1.0  # ODE takes the smaller of the two
    ode = node('ode', leaf('mu', friction), leaf('mu2', friction))
    spring = (leaf('kp', CONTACT_STIFFNESS), leaf('kd', CONTACT_DAMPING))
    contact = node(
        'contact', node('ode', *spring, leaf('max_vel', 100), leaf('min_depth', 0.0001))
    )
    surface = node('surface', node('friction', ode), contact)
    return node('collision', geometry, surface, name='hull')


def _turn_drag(slot: str) -> float:
    """Return the resistance to a turn [N m s/rad], as in MuJoCo's scene."""
    if slot != 'bar':
        return BLOCK_TURN_DRAG
    return SLIDE_DRAG * sum((2 * half) ** 2 for half in BAR_HALF_SIDES) / 12


def _check_drag(config: TableConfig, numbers: GazeboConfig) -> None:
    lost = SLIDE_DRAG * config.drag / (MASS * config.mass) * numbers.gazebo_step_s
    if lost > DAMPING_LIMIT:
        raise ValueError(
            f'gazebo_step_s: expected so short a step that a block loses at most {DAMPING_LIMIT} '
            f'of its speed to the drag in it, got {lost:.2f}; make it shorter, or drag smaller'
        )


def _physics(config: TableConfig, numbers: GazeboConfig) -> Element:
    solver = node(
        'solver',
        node('type', 'quick'),
        node('iters', str(numbers.gazebo_iterations)),
        leaf('sor', 1.3),
    )
    constraints = node(
        'constraints',
        leaf('cfm', 0),
        leaf('erp', 0.2),
        leaf('contact_max_correcting_vel', 100),  # ODE bounds the speed of motors by it too
        leaf('contact_surface_layer', 0.0001),
    )
    return node(
        'physics',
        leaf('max_step_size', numbers.gazebo_step_s),
        leaf('real_time_factor', 0),
        leaf('real_time_update_rate', 0),
        node('ode', solver, constraints),
        name='ode',
        type='ode',
    )


def lights(config: TableConfig) -> tuple[Element, ...]:
    """Return MuJoCo's two lamps: one over the table, one that looks as the camera does."""
    light = config.light
    ambient = (HEADLIGHT['ambient'] + LAMP['ambient']) * light
    _, axes = camera_pose(config.camera_turn_deg, config.camera_rise_deg)
    forward = -np.cross(axes[:3], axes[3:])
    return (
        node(
            'scene',
            leaf('ambient', ambient, ambient, ambient, 1),
            leaf('background', 0, 0, 0, 1),
            node('shadows', 'false'),
        ),
        _lamp('lamp', LAMP['diffuse'] * light, LAMP['direction']),
        _lamp('headlight', HEADLIGHT['diffuse'] * light, forward),
    )


def _lamp(name: str, diffuse: float, direction: tuple[float, ...]) -> Element:
    return node(
        'light',
        node('cast_shadows', 'false'),
        leaf('pose', 0, 0, 2, 0, 0, 0),
        leaf('diffuse', diffuse, diffuse, diffuse, 1),
        leaf('specular', 0, 0, 0, 1),
        leaf('direction', *direction),
        name=name,
        type='directional',
    )


def surroundings(config: TableConfig) -> tuple[Element, ...]:
    """Return floor, table and stand, which nothing touches."""
    table = tuple(shade * config.surface for shade in GREY_TABLE)
    return tuple(
        node(
            'model',
            node('static', 'true'),
            node('link', sdf.visual('picture', sdf.box(*sides), rgb, (*pose, 0, 0, 0)), name=name),
            name=name,
        )
        for name, sides, pose, rgb in (
            ('floor', (8, 8, 0.02), (0, 0, -0.46), GREY_FLOOR),
            ('top', (0.54, 0.54, 0.04), (0, 0, -0.02), table),
            ('stand', (0.16, 0.16, 0.45), (*BASE[:2], -0.225), GREY_STAND),
        )
    )


def _camera(config: TableConfig) -> Element:
    """Return the policy camera; Gazebo's looks along its x, y to the left, z up."""
    position, axes = camera_pose(config.camera_turn_deg, config.camera_rise_deg)
    right = axes[:3]
    up = axes[3:]
    rotation = np.column_stack([np.cross(up, right), -right, up])
    size = str(OVERSAMPLING * config.image_size)
    camera = node(
        'camera',
        leaf('horizontal_fov', math.radians(FIELD_OF_VIEW)),
        node('image', node('width', size), node('height', size), node('format', 'R8G8B8')),
        node('clip', leaf('near', 0.1), leaf('far', 10)),
        name=CAMERA,
    )
    sensor = node(
        'sensor',
        node('always_on', '0'),
        node('update_rate', '10'),
        camera,
        name=CAMERA,
        type='camera',
    )
    return node(
        'model',
        node('static', 'true'),
        leaf('pose', *position, *sdf.to_rpy(rotation)),
        node('link', sensor, name='link'),
        name='camera',
    )


def main() -> None:
    """Write the world file of the suite's own table beside the others."""
    path = Path(__file__).resolve().parents[2] / 'worlds' / 'table.classic.sdf'
    path.write_text(make_world(TableConfig(), GazeboConfig()))


if __name__ == '__main__':
    main()
