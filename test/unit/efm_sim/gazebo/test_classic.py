"""The world file for Gazebo Classic has the values of the MuJoCo model."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from efm_sim.gazebo.classic import block_joints, joint_names, make_classic_world, OVERSAMPLING
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.graphics import mujoco
from efm_sim.table.config import TableConfig
from efm_sim.table.domain import camera_pose
from efm_sim.table.scene import ARM_JOINTS, build_scene, load_arm, SLOTS
import numpy as np
import pytest
from sources import ROOT

OTHER = TableConfig(
    camera_turn_deg=25.0,
    camera_rise_deg=10.0,
    light=0.7,
    surface=0.8,
    friction=0.2,
    drag=2.0,
    mass=3.0,
)
CONFIGS = {'default': TableConfig(), 'other': OTHER}


def world_of(config=CONFIGS['default'], **numbers):
    """Return the world element and the MuJoCo model of a configuration."""
    text = make_classic_world(config, GazeboConfig(**numbers))
    return ElementTree.fromstring(text).find('world'), build_scene(config)


def numbers(element, path):
    return np.array([float(word) for word in element.findtext(path).split()])


def named(element, tag):
    return {child.get('name'): child for child in element.iter(tag)}


def rotation(roll, pitch, yaw):
    """Return the rotation about x, then y, then z, as SDF defines it."""
    quaternion = np.zeros(4)
    turned = np.zeros(9)
    mujoco.mju_euler2Quat(quaternion, np.array([roll, pitch, yaw]), 'XYZ')
    mujoco.mju_quat2Mat(turned, quaternion)
    return turned.reshape(3, 3)


def test_the_arm_has_the_links_and_masses_of_mujoco():
    world, _ = world_of()
    arm = named(world, 'model')['arm']
    model = load_arm().compile()
    links = named(arm, 'link')
    bodies = [model.body(index).name for index in range(1, model.nbody)]
    assert sorted(links) == sorted(bodies)
    for body in bodies:
        assert numbers(links[body], 'inertial/mass') == pytest.approx(model.body(body).mass)
        if body != 'base_link':
            np.testing.assert_allclose(numbers(links[body], 'pose')[:3], model.body(body).pos)


def test_the_arm_has_the_joints_axes_and_limits_of_mujoco():
    world, _ = world_of()
    arm = named(world, 'model')['arm']
    model = load_arm().compile()
    joints = {name: j for name, j in named(arm, 'joint').items() if j.get('type') == 'revolute'}
    assert tuple(joints) == ARM_JOINTS
    for name, joint in joints.items():
        limits = [numbers(joint, f'axis/limit/{end}')[0] for end in ('lower', 'upper')]
        np.testing.assert_allclose(limits, model.joint(name).range)
        np.testing.assert_allclose(numbers(joint, 'axis/xyz'), model.joint(name).axis)
        assert joint.findtext('child') == model.body(model.joint(name).bodyid[0]).name


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_blocks_have_the_size_mass_drag_and_edge_of_the_mujoco_table(config):
    world, model = world_of(config)
    for slot in SLOTS:
        block = named(world, 'model')[slot]
        masses = [float(mass.text) for mass in block.iter('mass')]
        assert sum(masses) == pytest.approx(model.body(slot).mass[0])
        shape = block.find("link[@name='block']/visual/geometry")[0]
        if shape.tag == 'box':
            np.testing.assert_allclose(numbers(shape, 'size'), 2 * model.geom(slot).size)
        else:
            sizes = [float(shape.findtext('radius')), float(shape.findtext('length')) / 2]
            np.testing.assert_allclose(sizes, model.geom(slot).size[:2])
        for name in ('x', 'y', 'yaw'):
            joint = named(block, 'joint')[name]
            mujoco_joint = model.joint(f'{slot}_{name}')
            assert numbers(joint, 'axis/dynamics/damping') == pytest.approx(
                mujoco_joint.damping[0]
            )
            np.testing.assert_allclose(numbers(joint, 'axis/xyz'), mujoco_joint.axis)
            if name != 'yaw':
                limits = [numbers(joint, f'axis/limit/{end}')[0] for end in ('lower', 'upper')]
                np.testing.assert_allclose(limits, mujoco_joint.range)


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_contacts_have_the_friction_of_the_mujoco_table(config):
    world, model = world_of(config)
    frictions = {float(mu.text) for slot in SLOTS for mu in named(world, 'model')[slot].iter('mu')}
    assert frictions == {config.friction}
    assert set(model.pair_friction[:, 0]) == {config.friction}


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_the_camera_has_the_pose_and_field_of_view_of_mujoco(config):
    world, model = world_of(config)
    camera = named(world, 'model')['camera']
    sensor = world.find('.//sensor/camera')
    pose = numbers(camera, 'pose')
    position, axes = camera_pose(config.camera_turn_deg, config.camera_rise_deg)
    forward, left, up = rotation(*pose[3:]).T
    np.testing.assert_allclose(pose[:3], position, atol=1e-6)
    np.testing.assert_allclose(-left, axes[:3], atol=1e-3)
    np.testing.assert_allclose(up, axes[3:], atol=1e-3)
    np.testing.assert_allclose(forward, -np.cross(axes[:3], axes[3:]), atol=1e-3)
    fov = math.radians(model.camera('policy').fovy[0])
    assert numbers(sensor, 'horizontal_fov') == pytest.approx(fov)
    assert sensor.findtext('image/width') == str(OVERSAMPLING * config.image_size)
    assert sensor.findtext('image/height') == str(OVERSAMPLING * config.image_size)


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_lamps_and_table_have_the_brightness_of_mujoco(config):
    world, model = world_of(config)
    lights = named(world, 'light')
    headlight = model.vis.headlight
    np.testing.assert_allclose(numbers(lights['lamp'], 'diffuse')[:3], model.light_diffuse[0])
    np.testing.assert_allclose(numbers(lights['headlight'], 'diffuse')[:3], headlight.diffuse)
    ambient = np.array(headlight.ambient) + model.light_ambient[0]
    np.testing.assert_allclose(numbers(world, 'scene/ambient')[:3], ambient, rtol=1e-6)
    direction = numbers(lights['lamp'], 'direction')
    np.testing.assert_allclose(direction / np.linalg.norm(direction), model.light_dir[0])
    top = named(world, 'model')['top'].find('link/visual')
    box = next(g for g in range(model.ngeom) if model.geom_size[g][0] == 0.27)
    np.testing.assert_allclose(numbers(top, 'material/diffuse')[:3], model.geom_rgba[box][:3])
    np.testing.assert_allclose(numbers(top, 'geometry/box/size'), 2 * model.geom_size[box])


@pytest.mark.parametrize('body', ['arm', 'tool'])
def test_every_joint_in_commands_and_replies_is_in_the_world(body):
    config = TableConfig(body=body)
    world, _ = world_of(config)
    known = {
        f'{model.get("name")}::{joint.get("name")}'
        for model in world.iter('model')
        for joint in model.iter('joint')
    }
    assert set(joint_names(config)) < known
    assert {name for slot in SLOTS for name in block_joints(slot)} < known


def test_a_bar_has_the_size_and_drag_of_mujoco():
    world, model = world_of(TableConfig(objects='bar', task='block_to_place'))
    assert 'cube_0' not in named(world, 'model')
    bar = named(world, 'model')['bar']
    np.testing.assert_allclose(
        numbers(bar, "link[@name='block']/visual/geometry/box/size"), 2 * model.geom('bar').size
    )
    assert numbers(named(bar, 'joint')['yaw'], 'axis/dynamics/damping') == pytest.approx(
        model.joint('bar_yaw').damping[0]
    )


def test_too_much_drag_for_the_physics_step_is_refused():
    with pytest.raises(
        ValueError, match='gazebo_step_s: expected a step in which drag takes at most'
    ):
        make_classic_world(TableConfig(drag=10.0, mass=0.1), GazeboConfig())


def test_the_stored_world_file_is_up_to_date():
    stored = (ROOT / 'worlds' / 'table.classic.sdf').read_text()
    assert stored == make_classic_world(TableConfig(), GazeboConfig()), (
        'table.classic.sdf: expected the present world; run python -m efm_sim.gazebo.classic'
    )
