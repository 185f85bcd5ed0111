"""
The files for Gazebo Harmonic agree with its documentation and with each other.

No test runs Gazebo. Names and types are those of gz-sim 8, ros_gz and gz_ros2_control for Jazzy.
"""

from __future__ import annotations

import ast
import math
import re
from xml.etree import ElementTree

from efm_bringup.graph import EXECUTABLES
from efm_core import topics
from efm_sim.gazebo.driver_node import JOINT_COMMANDS
from efm_sim.gazebo.harmonic import (
    FLOOR,
    make_harmonic_world,
    PARKING,
    scene_request,
    service_command,
    STEP_S,
    SYSTEMS,
    WORLD,
)
from efm_sim.table.config import TableConfig
from efm_sim.table.language import TYPES
from efm_sim.table.scene import ARM_JOINTS, CUBE_HALF_SIDE, CYLINDER_RADIUS, MASS
from efm_sim.table.world import Table
import numpy as np
import pytest
from sources import ROOT
import yaml

# From the README of ros_gz_bridge: types that can be bridged, and the keys of an entry.
BRIDGED = {
    'sensor_msgs/msg/Image': 'gz.msgs.Image',
    'sensor_msgs/msg/CameraInfo': 'gz.msgs.CameraInfo',
    'rosgraph_msgs/msg/Clock': 'gz.msgs.Clock',
}
ENTRY = {'ros_topic_name', 'gz_topic_name', 'ros_type_name', 'gz_type_name', 'direction'}
XACRO = (ROOT / 'urdf' / 'arm.urdf.xacro').read_text()
LAUNCH = (ROOT / 'launch' / 'harmonic.launch.py').read_text()


def read_yaml(name):
    return yaml.safe_load((ROOT / 'config' / 'gazebo' / name).read_text())


@pytest.fixture(scope='module')
def world():
    return ElementTree.fromstring(make_harmonic_world(TableConfig())).find('world')


def numbers(element, path):
    return np.array([float(word) for word in element.findtext(path).split()])


def test_the_stored_world_file_is_up_to_date():
    stored = (ROOT / 'worlds' / 'table.harmonic.sdf').read_text()
    assert stored == make_harmonic_world(TableConfig()), (
        'table.harmonic.sdf: expected the present world; run python -m efm_sim.gazebo.harmonic'
    )


def test_the_world_loads_the_systems_of_physics_camera_and_services(world):
    plugins = {plugin.get('filename'): plugin for plugin in world.findall('plugin')}
    assert {name: plugin.get('name') for name, plugin in plugins.items()} == SYSTEMS
    for filename, plugin in plugins.items():
        words = re.fullmatch(r'gz-sim-([a-z-]+)-system', filename)[1].split('-')
        assert plugin.get('name') == 'gz::sim::systems::' + ''.join(w.capitalize() for w in words)
    assert plugins['gz-sim-sensors-system'].findtext('render_engine') == 'ogre2'
    assert world.get('name') == WORLD
    assert numbers(world, 'physics/max_step_size') == STEP_S
    assert numbers(world, 'gravity')[2] < -9


def test_every_block_type_lies_on_the_floor_with_its_size_and_mass(world):
    models = {model.get('name'): model for model in world.findall('model')}
    assert set(models) == {*TYPES, 'floor', 'top', 'stand'}
    for name in TYPES:
        link = models[name].find('link')
        assert numbers(link, 'inertial/mass') == MASS
        for part in ('visual', 'collision'):
            shape = link.find(f'{part}/geometry')[0]
            if name.endswith('cube'):
                np.testing.assert_allclose(numbers(shape, 'size'), 2 * CUBE_HALF_SIDE)
            else:
                assert numbers(shape, 'radius') == CYLINDER_RADIUS
        assert numbers(models[name], 'pose')[2] == pytest.approx(FLOOR + CUBE_HALF_SIDE)


def test_blocks_on_the_floor_are_apart_and_away_from_the_table(world):
    places = np.array(list(PARKING.values()))
    gaps = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(len(places))
    assert gaps.min() > 0.1
    assert np.abs(places).max(axis=1).min() > 0.4
    top, floor = (world.find(f"model[@name='{name}']/link/collision") for name in ('top', 'floor'))
    assert np.abs(places).max() < numbers(floor, 'geometry/box/size')[0] / 2
    for solid, height in ((top, 0.0), (floor, FLOOR)):
        middle = numbers(solid, 'pose')[2]
        sides = numbers(solid, 'geometry/box/size')
        assert middle + sides[2] / 2 == pytest.approx(height)


def poses_in(request):
    """Return name, position and quaternion of every pose in the text of a gz.msgs.Pose_V."""
    number = r'(-?[0-9.]+)'
    pattern = (
        rf'pose {{name: "(\w+)" position {{x: {number} y: {number} z: {number}}} '
        rf'orientation {{w: {number} z: {number}}}}}'
    )
    found = re.findall(pattern, request)
    assert re.sub(pattern, '', request).strip() == ''
    return {name: np.array(list(map(float, rest))) for name, *rest in found}


def test_a_request_places_the_blocks_of_a_scene_and_parks_the_others():
    table = Table()
    table.reset(11)
    blocks = table.block_positions()
    yaws = table.block_yaws()
    poses = poses_in(scene_request(blocks, yaws))
    assert set(poses) == set(TYPES)
    for name, (x, y, z, w, sine) in poses.items():
        if name in blocks:
            np.testing.assert_allclose([x, y, z], blocks[name], atol=1e-6)
            turned = table.data.body(table._slot_names[table._slot_index[name]]).xquat
            np.testing.assert_allclose([w, sine], turned[[0, 3]], atol=1e-6)
        else:
            np.testing.assert_allclose([x, y, z], [*PARKING[name], FLOOR + CUBE_HALF_SIDE])
    assert any(not math.isclose(yaw, 0) for yaw in yaws.values())


def test_the_command_calls_the_service_of_this_world_with_its_types():
    command = service_command('pose {}', 5000)
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert command[:2] == ['gz', 'service']
    assert options == {
        '-s': f'/world/{WORLD}/set_pose_vector',
        '--reqtype': 'gz.msgs.Pose_V',
        '--reptype': 'gz.msgs.Boolean',
        '--timeout': '5000',
        '--req': 'pose {}',
    }


def test_the_bridge_has_matching_types_and_our_topics():
    entries = read_yaml('harmonic_bridge.yaml')
    for entry in entries:
        assert set(entry) == ENTRY
        assert BRIDGED[entry['ros_type_name']] == entry['gz_type_name']
        assert entry['direction'] == 'GZ_TO_ROS'
        assert entry['gz_topic_name'].startswith('/')
    by_topic = {entry['ros_topic_name']: entry for entry in entries}
    assert set(by_topic) == {topics.IMAGE.name, 'camera_info', '/clock'}
    assert by_topic[topics.IMAGE.name]['ros_type_name'] == topics.IMAGE.type


def test_the_bridge_subscribes_the_topics_of_the_camera():
    [topic] = re.findall(r'<topic>(.*?)</topic>', XACRO)
    entries = read_yaml('harmonic_bridge.yaml')
    by_topic = {entry['ros_topic_name']: entry['gz_topic_name'] for entry in entries}
    assert by_topic['image'] == f'/{topic}'
    assert by_topic['camera_info'] == f'/{topic.rpartition("/")[0]}/camera_info'


def test_the_controllers_drive_every_joint_and_use_the_topic_of_the_driver():
    files = read_yaml('harmonic_controllers.yaml')
    manager = files['/**/controller_manager']['ros__parameters']
    assert manager.pop('update_rate') == round(1 / STEP_S)
    assert {name: row['type'] for name, row in manager.items()} == {
        'joint_state_broadcaster': 'joint_state_broadcaster/JointStateBroadcaster',
        'forward_position_controller': 'forward_command_controller/ForwardCommandController',
    }
    driven = files['/**/forward_position_controller']['ros__parameters']
    assert driven == {'interface_name': 'position', 'joints': list(ARM_JOINTS)}
    assert JOINT_COMMANDS == 'forward_position_controller/commands'


def test_the_launch_file_spawns_every_controller_with_its_parameters():
    [spawner] = [
        {word.arg: word.value for word in call.keywords}
        for call in ast.walk(ast.parse(LAUNCH))
        if isinstance(call, ast.Call)
        and any(getattr(word.value, 'value', '') == 'spawner' for word in call.keywords)
    ]
    *names, flag, file = spawner['arguments'].elts
    manager = read_yaml('harmonic_controllers.yaml')['/**/controller_manager']['ros__parameters']
    assert [name.value for name in names] == [name for name in manager if name != 'update_rate']
    assert (flag.value, file.id) == ('--param-file', 'controllers')


def test_the_launch_file_starts_existing_nodes_with_existing_files():
    calls = [n for n in ast.walk(ast.parse(LAUNCH)) if isinstance(n, ast.Call)]
    started = {
        (word['package'], word['executable'])
        for call in calls
        if getattr(call.func, 'id', '') == 'Node'
        for word in [{k.arg: getattr(k.value, 'value', None) for k in call.keywords}]
    }
    assert started == {
        ('ros_gz_sim', 'create'),
        ('controller_manager', 'spawner'),
        ('robot_state_publisher', 'robot_state_publisher'),
        ('ros_gz_bridge', 'parameter_bridge'),
        ('efm', 'gazebo_driver_node'),
    }
    assert EXECUTABLES['gazebo_driver_node'] == 'efm_sim.gazebo.driver_node'
    shared = [
        '/'.join(argument.value for argument in call.args)
        for call in calls
        if getattr(call.func, 'id', '') == 'shared'
    ]
    assert len(shared) == 5
    for path in shared:
        assert (ROOT / path).is_file(), path
