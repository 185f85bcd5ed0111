"""The MuJoCo model of the table: blocks, camera, and the arm or the floating tool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from efm_core.files import share
from efm_sim.graphics import mujoco
from efm_sim.table.config import TableConfig
from efm_sim.table.domain import camera_pose
import numpy as np

TOOL_RADIUS = 0.01  # [m]
CUBE_HALF_SIDE = 0.019  # [m]
CYLINDER_RADIUS = 0.022  # [m]
BAR_HALF_SIDES = (0.06, 0.015)  # [m]; four times as long as wide
SLIDE_DRAG = 1.5  # resistance of the table to sliding [N s/m]
BLOCK_TURN_DRAG = 5e-4  # resistance of the table to the rotation of a block [N m s/rad]
MASS = 0.05  # of a block or the bar [kg]
TIP_HEIGHT = 0.02  # height of the tool's tip above the table [m]
BLOCK_LIMIT = 0.165  # largest |x| and |y| of a block [m]
TOOL_LIMIT = 0.2  # largest |x| and |y| of the tool [m]
ARM_BASE = (0.0, 0.52, 0.0)  # behind the table, at the top of the image [m]
# A slot is a body for a block; a reset gives it a colour.
SLOTS = ('cube_0', 'cube_1', 'cube_2', 'cylinder_0', 'cylinder_1', 'cylinder_2')
SLOTS_OF = {'blocks': SLOTS, 'bar': ('bar',)}  # by TableConfig.objects
ARM_JOINTS = ('shoulder_pan', 'shoulder_lift', 'elbow', 'wrist_roll', 'wrist_pitch', 'wrist_yaw')
RGBA = {
    'red': (0.85, 0.12, 0.10, 1),
    'blue': (0.10, 0.25, 0.85, 1),
    'green': (0.08, 0.60, 0.16, 1),
    'yellow': (0.95, 0.80, 0.08, 1),
}
ARM_PREFIX = 'arm/'  # of the arm's names in the MuJoCo model
URDF = 'urdf/arm.urdf'


@dataclass(frozen=True)
class Servo:
    """
    A critically damped position servo.

    :param inertia: of the joint with its gears, [kg] or [kg m^2].
    :param frequency: natural frequency [rad/s].
    """

    inertia: float
    frequency: float = 50.0

    @property
    def stiffness(self) -> float:
        """Gain of the position error, [N/m] or [N m/rad]."""
        return self.inertia * self.frequency**2

    @property
    def damping(self) -> float:
        """Gain of the velocity, [N s/m] or [N m s/rad]."""
        return 2 * self.inertia * self.frequency

    @property
    def lead_s(self) -> float:
        """Time by which a moving setpoint leads [s], so that the joint has no lag."""
        return self.damping / self.stiffness


ARM_SERVO = Servo(inertia=0.5)
TOOL_SERVO = Servo(inertia=0.3)


def build_scene(config: TableConfig) -> mujoco.MjModel:
    """
    Return the MuJoCo model: arm or tool, table, blocks or bar, lamps and cameras.

    Objects slide and turn in the plane against viscous drag, without contact with the table. This
    motion is quasi-static and fast to simulate.
    """
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = config.control_period_s / config.substeps
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = (0, 0, 0)
    spec.stat.extent = 0.8
    spec.stat.center = (0, 0.1, 0.1)
    spec.add_texture(
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.75, 0.80, 0.86],
        rgb2=[0.42, 0.44, 0.47],
        width=64,
        height=384,
    )
    spec.visual.map.shadowclip = 2.5
    _add_surroundings(spec, config)
    tip = _add_arm(spec) if config.body == 'arm' else _add_tool(spec)
    blocks = [_add_block(spec.worldbody, slot, config) for slot in SLOTS_OF[config.objects]]
    bodies = [tip, *blocks]
    for index, first in enumerate(bodies):
        for second in bodies[index + 1 :]:
            spec.add_pair(
                geomname1=first,
                geomname2=second,
                condim=3,
                friction=[config.friction, config.friction, 0.005, 0.0001, 0.0001],
            )
    return spec.compile()


def load_arm() -> mujoco.MjSpec:
    """
    Return the arm of ``urdf/arm.urdf``, without collisions.

    :raises FileNotFoundError: as `find_urdf`.
    """
    arm = mujoco.MjSpec.from_file(str(find_urdf()))
    for geom in arm.geoms:
        geom.contype = geom.conaffinity = 0
    return arm


def find_urdf() -> Path:
    """
    Return the path of the arm's URDF: in the source tree or the installed share folder.

    :raises FileNotFoundError: when it is in neither.
    """
    return share(URDF)


def _add_surroundings(spec: mujoco.MjSpec, config: TableConfig) -> None:
    world = spec.worldbody
    light = config.light
    shade = config.surface
    box = mujoco.mjtGeom.mjGEOM_BOX
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    for kind, size, pos, grey in (
        (plane, [4, 4, 0.1], [0, 0, -0.45], [0.42, 0.44, 0.47, 1]),
        (box, [0.27, 0.27, 0.02], [0, 0, -0.02], [0.80 * shade, 0.77 * shade, 0.72 * shade, 1]),
        (box, [0.08, 0.08, 0.225], [*ARM_BASE[:2], -0.225], [0.3, 0.31, 0.33, 1]),
    ):
        world.add_geom(type=kind, size=size, pos=pos, rgba=grey, contype=0, conaffinity=0)
    directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    world.add_light(
        type=directional,
        pos=[-0.6, -0.5, 1.5],
        dir=[0.45, 0.35, -1.0],
        diffuse=[0.55 * light] * 3,
        specular=[0.1, 0.1, 0.1],
        ambient=[0.2 * light] * 3,
        castshadow=True,
    )
    headlight = spec.visual.headlight
    headlight.ambient = (np.asarray(headlight.ambient) * light).tolist()
    headlight.diffuse = (np.asarray(headlight.diffuse) * light).tolist()
    camera, axes = camera_pose(config.camera_turn_deg, config.camera_rise_deg)
    world.add_camera(name='policy', pos=camera, fovy=20, xyaxes=axes)
    world.add_camera(
        name='pretty', pos=[0.75, -0.95, 0.75], fovy=42, xyaxes=[0.8, 0.6, 0, -0.27, 0.36, 0.893]
    )


def _add_block(world: mujoco.MjsBody, slot: str, config: TableConfig) -> str:
    """Add one block or the bar with its joints; return the name of the geom that collides."""
    block = world.add_body(name=slot, pos=[0, 0, CUBE_HALF_SIDE])
    joint = mujoco.mjtJoint
    is_bar = slot == 'bar'
    limits = {
        'range': [-BLOCK_LIMIT, BLOCK_LIMIT],
        'limited': True,
        'damping': [SLIDE_DRAG * config.drag, 0, 0],
    }
    turning = (_bar_turn_drag() if is_bar else BLOCK_TURN_DRAG) * config.drag
    block.add_joint(name=f'{slot}_x', type=joint.mjJNT_SLIDE, axis=[1, 0, 0], **limits)
    block.add_joint(name=f'{slot}_y', type=joint.mjJNT_SLIDE, axis=[0, 1, 0], **limits)
    block.add_joint(
        name=f'{slot}_yaw', type=joint.mjJNT_HINGE, axis=[0, 0, 1], damping=[turning, 0, 0]
    )
    kind = mujoco.mjtGeom
    if is_bar or slot.startswith('cube'):
        sides = BAR_HALF_SIDES if is_bar else (CUBE_HALF_SIDE, CUBE_HALF_SIDE)
        block.add_geom(
            name=slot,
            type=kind.mjGEOM_BOX,
            size=[*sides, CUBE_HALF_SIDE],
            mass=MASS * config.mass,
            contype=0,
            conaffinity=0,
        )
        return slot
    # MuJoCo's contacts of capsules are exact and fast, those of cylinders are neither. Seen from
    # above, both are the same disc.
    block.add_geom(
        name=slot,
        type=kind.mjGEOM_CYLINDER,
        size=[CYLINDER_RADIUS, CUBE_HALF_SIDE, 0],
        mass=MASS * config.mass,
        contype=0,
        conaffinity=0,
    )
    block.add_geom(
        name=f'{slot}_hull',
        type=kind.mjGEOM_CAPSULE,
        size=[CYLINDER_RADIUS, 0.03, 0],
        mass=0,
        group=4,
        contype=0,
        conaffinity=0,
    )
    return f'{slot}_hull'


def _bar_turn_drag() -> float:
    """
    Return the resistance to the rotation of a bar with evenly distributed drag [N m s/rad].

    A push at its tip turns the bar: its centre moves at a quarter of the speed of the tip.
    """
    return SLIDE_DRAG * sum((2 * half) ** 2 for half in BAR_HALF_SIDES) / 12


def _add_arm(spec: mujoco.MjSpec) -> str:
    """
    Attach the arm, which faces the table, and its servos.

    :return: the name of the geom that pushes.
    """
    turned = [0.70710678, 0, 0, -0.70710678]
    spec.attach(
        load_arm(), prefix=ARM_PREFIX, frame=spec.worldbody.add_frame(pos=ARM_BASE, quat=turned)
    )
    for name in ARM_JOINTS:
        spec.joint(ARM_PREFIX + name).armature = ARM_SERVO.inertia
        _add_servo(spec, ARM_PREFIX + name, ARM_SERVO)
    geom = next(
        geom
        for geom in spec.body(ARM_PREFIX + 'tool_tip').geoms
        if geom.type == mujoco.mjtGeom.mjGEOM_SPHERE
    )
    geom.name = 'tip'
    geom.group = 4
    return 'tip'


def _add_tool(spec: mujoco.MjSpec) -> str:
    """
    Add a floating tool on two slide joints, and its servos.

    :return: the name of the geom that pushes.
    """
    tool = spec.worldbody.add_body(name='tool_tip', pos=[0, 0, TIP_HEIGHT])
    no_collision = {'contype': 0, 'conaffinity': 0}
    tool.add_geom(
        name='tip',
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[TOOL_RADIUS, 0, 0],
        mass=0.3,
        group=4,
        **no_collision,
    )
    tool.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[TOOL_RADIUS, 0.03, 0],
        pos=[0, 0, 0.01],
        mass=0,
        rgba=[0.08, 0.08, 0.09, 1],
        **no_collision,
    )
    for name, axis in (('tool_x', [1, 0, 0]), ('tool_y', [0, 1, 0])):
        tool.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
        _add_servo(spec, name, TOOL_SERVO)
    return 'tip'


def _add_servo(spec: mujoco.MjSpec, joint: str, servo: Servo) -> None:
    actuator = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.set_to_position(kp=servo.stiffness, kv=servo.damping)
