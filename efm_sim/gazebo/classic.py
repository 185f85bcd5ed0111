"""
The world file of the table for Gazebo Classic 11, from the dimensions in `efm_sim.table.scene`.

As in the MuJoCo model, there is no gravity, blocks slide and turn in the plane against viscous
drag, and only the tool and the blocks collide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import math
from pathlib import Path
from xml.etree.ElementTree import Element

from efm_sim.gazebo import sdf
from efm_sim.gazebo.arm import ARM, make_arm
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.gazebo.sdf import element, leaf
from efm_sim.table.config import TableConfig
from efm_sim.table.domain import camera_pose, paint
from efm_sim.table.scene import (
    ARM_BASE,
    ARM_JOINTS,
    ARM_SERVO,
    BAR_HALF_SIDES,
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
OVERSAMPLING = 2  # factor by which pictures are rendered larger, as in MuJoCo
FIELD_OF_VIEW = 20.0  # [deg]
SLIDER_FRACTION = 0.05  # fraction of a block's mass in each of its two slider links
# MuJoCo's headlight, which points along the camera, and the lamp over the table.
HEADLIGHT_AMBIENT = 0.1
HEADLIGHT_DIFFUSE = 0.4
LAMP_AMBIENT = 0.2
LAMP_DIFFUSE = 0.55
LAMP_DIRECTION = (0.45, 0.35, -1.0)
GREY_TABLE = (0.80, 0.77, 0.72)
GREY_FLOOR = (0.42, 0.44, 0.47)
GREY_STAND = (0.3, 0.31, 0.33)
STAND_CENTRE = (ARM_BASE[0], ARM_BASE[1], -0.225)  # [m]
AXES = {'x': (1, 0, 0), 'y': (0, 1, 0), 'yaw': (0, 0, 1)}
# As soft as MuJoCo's contacts. With ODE's defaults, a block squeezed at the edge jumps away.
CONTACT_STIFFNESS = 2000.0  # [N/m]
CONTACT_DAMPING = 40.0  # [N s/m]
DAMPING_LIMIT = 0.5  # largest fraction of its speed that a block may lose in a physics step


@dataclass(frozen=True, kw_only=True)
class StaticBox:
    """
    A box of the surroundings.

    :param sides: ``(3,)`` [m].
    :param centre: ``(3,)`` [m].
    :param rgb: colour, 0 to 1.
    """

    name: str
    sides: tuple[float, ...]
    centre: tuple[float, ...]
    rgb: tuple[float, ...]


def make_classic_world(
    config: TableConfig, gazebo: GazeboConfig, plugins: tuple[Element, ...] = ()
) -> str:
    """
    Return the world file for Gazebo Classic 11.

    :param config: the table.
    :param gazebo: physics step and solver.
    :param plugins: plugins that drive the world; empty: our own, which simulates in lockstep.
    :raises ValueError: when the drag is too strong for the physics step.
    """
    _check_drag(config, gazebo)
    gain = leaf('gain', ARM_SERVO.frequency)
    lockstep_plugin = element('plugin', gain, name='efm_table', filename=PLUGIN)
    world = element(
        'world',
        leaf('gravity', 0, 0, 0),
        _physics(gazebo),
        *lights(config),
        *(make_static(part) for part in surroundings(config)),
        make_arm() if config.body == 'arm' else make_tool(),
        *(make_block(slot, config) for slot in SLOTS_OF[config.objects]),
        _camera(config),
        *(plugins or (lockstep_plugin,)),
        name=WORLD,
    )
    return sdf.to_text(element('sdf', world, version=sdf.VERSION))


def joint_names(config: TableConfig) -> tuple[str, ...]:
    """Return Gazebo's names of the joints of arm or floating tool, in the order of `Table`."""
    if config.body == 'arm':
        return tuple(f'{ARM}::{name}' for name in ARM_JOINTS)
    return ('tool::x', 'tool::y')


def block_joints(slot: str) -> tuple[str, ...]:
    """Return Gazebo's names of a block's joints: x, y and yaw."""
    return tuple(f'{slot}::{name}' for name in AXES)


def make_block(slot: str, config: TableConfig) -> Element:
    """Return one block or the bar on two slider links; it turns on the second one."""
    is_bar = slot == 'bar'
    mass = MASS * config.mass
    half_sides = BAR_HALF_SIDES if is_bar else (CUBE_HALF_SIDE, CUBE_HALF_SIDE)
    sides = tuple(2 * half for half in (*half_sides, CUBE_HALF_SIDE))
    is_round = slot.startswith('cylinder')
    shape = sdf.cylinder(CYLINDER_RADIUS, 2 * CUBE_HALF_SIDE) if is_round else sdf.box(*sides)
    # At the height of the contacts a sphere is the same disc, and ODE's spheres are exact.
    hull = sdf.sphere(CYLINDER_RADIUS) if is_round else shape
    block = element(
        'link',
        sdf.inertial(mass * (1 - 2 * SLIDER_FRACTION), sdf.box_moments(mass, sides)),
        sdf.visual('picture', shape, paint(RGBA['yellow'], config.hue_deg), (0,) * 6),
        _collision(hull, config),
        name='block',
    )
    slide = {'damping': SLIDE_DRAG * config.drag, 'limit': BLOCK_LIMIT}
    return element(
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
    """Return the floating tool on its two sliders; `joint_names` are its joints."""
    rod = sdf.cylinder(TOOL_RADIUS, 0.06)
    tip = element(
        'link',
        sdf.inertial(0.3, sdf.box_moments(0.3, (2 * TOOL_RADIUS, 2 * TOOL_RADIUS, 0.06))),
        sdf.visual('picture', rod, (0.08, 0.08, 0.09), (0, 0, 0.01, 0, 0, 0)),
        _collision(sdf.sphere(TOOL_RADIUS), None),
        name='tool_tip',
    )
    return element(
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
    axis = element(
        'axis',
        leaf('xyz', *AXES[name]),
        element('dynamics', leaf('damping', damping)),
        element('limit', leaf('lower', -limit), leaf('upper', limit), leaf('effort', effort)),
    )
    kind = 'revolute' if name == 'yaw' else 'prismatic'
    return element(
        'joint', element('parent', parent), element('child', child), axis, name=name, type=kind
    )


def _slider(name: str, mass: float) -> Element:
    slider_mass = mass * SLIDER_FRACTION
    moments = sdf.box_moments(slider_mass, (0.04,) * 3)
    return element('link', sdf.inertial(slider_mass, moments), name=name)


def _collision(geometry: Element, config: TableConfig | None) -> Element:
    friction = config.friction if config else 1.0  # ODE uses the smaller friction of the two
    ode = element('ode', leaf('mu', friction), leaf('mu2', friction))
    spring = (leaf('kp', CONTACT_STIFFNESS), leaf('kd', CONTACT_DAMPING))
    contact = element(
        'contact', element('ode', *spring, leaf('max_vel', 100), leaf('min_depth', 0.0001))
    )
    surface = element('surface', element('friction', ode), contact)
    return element('collision', geometry, surface, name='hull')


def _turn_drag(slot: str) -> float:
    """Return the resistance to rotation [N m s/rad], as in the MuJoCo model."""
    if slot != 'bar':
        return BLOCK_TURN_DRAG
    return SLIDE_DRAG * sum((2 * half) ** 2 for half in BAR_HALF_SIDES) / 12


def _check_drag(config: TableConfig, gazebo: GazeboConfig) -> None:
    lost = SLIDE_DRAG * config.drag / (MASS * config.mass) * gazebo.gazebo_step_s
    if lost > DAMPING_LIMIT:
        raise ValueError(
            'gazebo_step_s: expected a step in which drag takes at most '
            f'{DAMPING_LIMIT} of the speed of a block, got {lost:.2f}; reduce the step or the drag'
        )


def _physics(gazebo: GazeboConfig) -> Element:
    solver = element(
        'solver',
        element('type', 'quick'),
        element('iters', str(gazebo.gazebo_iterations)),
        leaf('sor', 1.3),
    )
    constraints = element(
        'constraints',
        leaf('cfm', 0),
        leaf('erp', 0.2),
        leaf('contact_max_correcting_vel', 100),  # also limits the speed of ODE's motors
        leaf('contact_surface_layer', 0.0001),
    )
    return element(
        'physics',
        leaf('max_step_size', gazebo.gazebo_step_s),
        leaf('real_time_factor', 0),
        leaf('real_time_update_rate', 0),
        element('ode', solver, constraints),
        name='ode',
        type='ode',
    )


def lights(config: TableConfig) -> tuple[Element, ...]:
    """Return ambient light and MuJoCo's two lamps: one over the table, one along the camera."""
    light = config.light
    ambient = (HEADLIGHT_AMBIENT + LAMP_AMBIENT) * light
    _, axes = camera_pose(config.camera_turn_deg, config.camera_rise_deg)
    forward = -np.cross(axes[:3], axes[3:])
    return (
        element(
            'scene',
            leaf('ambient', ambient, ambient, ambient, 1),
            leaf('background', 0, 0, 0, 1),
            element('shadows', 'false'),
        ),
        _lamp('lamp', LAMP_DIFFUSE * light, LAMP_DIRECTION),
        _lamp('headlight', HEADLIGHT_DIFFUSE * light, forward),
    )


def _lamp(name: str, diffuse: float, direction: Iterable[float]) -> Element:
    return element(
        'light',
        element('cast_shadows', 'false'),
        leaf('pose', 0, 0, 2, 0, 0, 0),
        leaf('diffuse', diffuse, diffuse, diffuse, 1),
        leaf('specular', 0, 0, 0, 1),
        leaf('direction', *direction),
        name=name,
        type='directional',
    )


def surroundings(config: TableConfig) -> tuple[StaticBox, ...]:
    """Return floor, table and stand."""
    table = tuple(shade * config.surface for shade in GREY_TABLE)
    return (
        StaticBox(name='floor', sides=(8, 8, 0.02), centre=(0, 0, -0.46), rgb=GREY_FLOOR),
        StaticBox(name='top', sides=(0.54, 0.54, 0.04), centre=(0, 0, -0.02), rgb=table),
        StaticBox(name='stand', sides=(0.16, 0.16, 0.45), centre=STAND_CENTRE, rgb=GREY_STAND),
    )


def make_static(part: StaticBox, *collisions: Element) -> Element:
    """Return the model of a static box; without ``collisions`` nothing collides with it."""
    geometry = sdf.box(*part.sides)
    visual = sdf.visual('picture', geometry, part.rgb, (*part.centre, 0, 0, 0))
    link = element('link', visual, *collisions, name=part.name)
    return element('model', element('static', 'true'), link, name=part.name)


def _camera(config: TableConfig) -> Element:
    """Return the policy camera. In Gazebo, a camera has x forward, y to the left and z up."""
    position, axes = camera_pose(config.camera_turn_deg, config.camera_rise_deg)
    right = axes[:3]
    up = axes[3:]
    rotation = np.column_stack([np.cross(up, right), -right, up])
    size = str(OVERSAMPLING * config.image_size)
    camera = element(
        'camera',
        leaf('horizontal_fov', math.radians(FIELD_OF_VIEW)),
        element(
            'image', element('width', size), element('height', size), element('format', 'R8G8B8')
        ),
        element('clip', leaf('near', 0.1), leaf('far', 10)),
        name=CAMERA,
    )
    sensor = element(
        'sensor',
        element('always_on', '0'),
        element('update_rate', '10'),
        camera,
        name=CAMERA,
        type='camera',
    )
    return element(
        'model',
        element('static', 'true'),
        leaf('pose', *position, *sdf.to_rpy(rotation)),
        element('link', sensor, name='link'),
        name='camera',
    )


def main() -> None:
    """Write ``worlds/table.classic.sdf``, the world file of the default table."""
    path = Path(__file__).resolve().parents[2] / 'worlds' / 'table.classic.sdf'
    path.write_text(make_classic_world(TableConfig(), GazeboConfig()))


if __name__ == '__main__':
    main()
