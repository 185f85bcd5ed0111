"""The xacro of the arm describes the same robot for every kind of hardware."""

from __future__ import annotations

import functools
import subprocess
import sys
from xml.etree import ElementTree

from efm_core.embodiment import load_embodiment
from efm_sim.gazebo.sdf import to_rpy
from efm_sim.table.arm import HOME
from efm_sim.table.config import TableConfig
from efm_sim.table.domain import camera_pose
from efm_sim.table.graphics import mujoco
from efm_sim.table.scene import ARM_BASE, ARM_JOINTS, build_scene, find_urdf, load_arm
import numpy as np
import pytest
from sources import ROOT

XACRO = ROOT / 'urdf' / 'arm.urdf.xacro'
ROBOT = ROOT / 'config' / 'embodiments' / 'table_arm.yaml'
HARDWARE = {
    'mujoco': None,
    'classic': 'gazebo_ros2_control/GazeboSystem',
    'gz': 'gz_ros2_control/GazeboSimSystem',
    'real': 'mock_components/GenericSystem',
}
SIMULATOR_PLUGIN = {
    'classic': ('gazebo_ros2_control', 'libgazebo_ros2_control.so'),
    'gz': ('gz_ros2_control::GazeboSimROS2ControlPlugin', 'libgz_ros2_control-system.so'),
}


@functools.cache
def expand(*words):
    """Return the completed process of xacro."""
    command = [sys.executable, '-c', 'import xacro; xacro.main()', str(XACRO), *words]
    return subprocess.run(command, capture_output=True, text=True)


def robot(hardware, *words):
    """Return the root element of the robot for one kind of hardware."""
    done = expand(f'hardware:={hardware}', *words)
    assert done.returncode == 0, done.stderr
    return ElementTree.fromstring(done.stdout)


def parts(root, tag):
    """Return the links or joints of the arm alone, each as a flat description."""
    own = {child.get('name') for child in ElementTree.parse(find_urdf()).getroot().findall(tag)}
    return {
        child.get('name'): [(part.tag, sorted(part.attrib.items())) for part in child.iter()]
        for child in root.findall(tag)
        if child.get('name') in own
    }


@pytest.mark.parametrize('hardware', HARDWARE)
def test_links_joints_limits_and_masses_are_those_of_the_urdf(hardware):
    plain = ElementTree.parse(find_urdf()).getroot()
    made = robot(hardware)
    for tag in ('link', 'joint'):
        assert parts(made, tag) == parts(plain, tag)
        assert parts(made, tag)


def test_mujoco_loads_the_same_arm_from_the_xacro():
    text = ElementTree.tostring(robot('mujoco'), encoding='unicode')
    made = mujoco.MjModel.from_xml_string(text)
    plain = load_arm().compile()
    for name in ARM_JOINTS:
        np.testing.assert_array_equal(made.joint(name).range, plain.joint(name).range)
        np.testing.assert_array_equal(made.joint(name).axis, plain.joint(name).axis)
    for index in range(1, plain.nbody):
        name = plain.body(index).name
        np.testing.assert_array_equal(made.body(name).mass, plain.body(name).mass)
        np.testing.assert_array_equal(made.body(name).inertia, plain.body(name).inertia)


@pytest.mark.parametrize('hardware', HARDWARE)
def test_ros2_control_names_the_hardware_and_every_joint(hardware):
    control = robot(hardware).find('ros2_control')
    if HARDWARE[hardware] is None:
        assert control is None
        return
    assert control.findtext('hardware/plugin') == HARDWARE[hardware]
    joints = {joint.get('name'): joint for joint in control.findall('joint')}
    assert tuple(joints) == ARM_JOINTS
    for name, home in zip(ARM_JOINTS, HOME, strict=True):
        joint = joints[name]
        assert [e.get('name') for e in joint.findall('command_interface')] == ['position']
        assert {e.get('name') for e in joint.findall('state_interface')} == {
            'position',
            'velocity',
        }
        assert float(joint.findtext('state_interface/param')) == home


@pytest.mark.parametrize('hardware', HARDWARE)
def test_only_simulated_hardware_has_a_simulator_plugin(hardware):
    plugins = [
        (plugin.get('name'), plugin.get('filename'))
        for plugin in robot(hardware, 'controllers:=here.yaml').findall('gazebo/plugin')
    ]
    expected = SIMULATOR_PLUGIN.get(hardware)
    assert plugins == ([expected] if expected else [])


def test_plugin_names_the_driver_of_real_hardware():
    control = robot('real', 'plugin:=my_robot/Driver').find('ros2_control')
    assert control.findtext('hardware/plugin') == 'my_robot/Driver'


def test_stand_and_camera_have_the_poses_of_the_scene():
    joints = {joint.get('name'): joint for joint in robot('gz').findall('joint')}
    stand, mount = (joints[name].find('origin') for name in ('stand', 'camera_mount'))
    np.testing.assert_allclose(numbers(stand.get('xyz')), ARM_BASE)
    np.testing.assert_allclose(numbers(stand.get('rpy')), [0, 0, -np.pi / 2])
    position, axes = camera_pose(0, 0)
    right = axes[:3]
    up = axes[3:]
    rotation = np.column_stack([np.cross(up, right), -right, up])
    np.testing.assert_allclose(numbers(mount.get('xyz')), position)
    np.testing.assert_allclose(numbers(mount.get('rpy')), to_rpy(rotation), atol=1e-3)


@pytest.mark.parametrize('hardware', HARDWARE)
def test_only_simulated_hardware_has_the_policy_camera(hardware):
    cameras = [
        (gazebo.get('reference'), sensor)
        for gazebo in robot(hardware).findall('gazebo')
        for sensor in gazebo.findall('sensor')
    ]
    if hardware not in SIMULATOR_PLUGIN:
        assert not cameras
        return
    [(link, sensor)] = cameras
    expected = load_embodiment(ROBOT).cameras[0]
    in_mujoco = build_scene(TableConfig()).camera('policy')
    assert (link, sensor.get('type')) == ('camera_link', 'camera')
    assert float(sensor.findtext('update_rate')) == load_embodiment(ROBOT).control_rate_hz
    assert float(sensor.findtext('camera/horizontal_fov')) == pytest.approx(
        np.radians(in_mujoco.fovy[0])
    )
    size = [int(sensor.findtext(f'camera/image/{side}')) for side in ('width', 'height')]
    assert size == [expected.width, expected.height]


@pytest.mark.parametrize('hardware', SIMULATOR_PLUGIN)
def test_all_topics_of_a_simulated_robot_are_in_its_namespace(hardware):
    namespaces = robot(hardware, 'namespace:=robot_7').iter('namespace')
    expected = {
        'classic': 2,
        'gz': 1,
    }  # camera and controllers; in Harmonic, the bridge has the namespace
    assert [space.text for space in namespaces] == ['/robot_7'] * expected[hardware]


def test_unknown_hardware_is_refused_with_the_choices():
    done = expand('hardware:=wood')
    assert done.returncode != 0
    assert 'expected mujoco, classic, gz or real, got wood' in done.stderr


def numbers(text):
    return np.array([float(word) for word in text.split()])
