"""The driver of the arm in Gazebo Harmonic, with a fake `gz` that records its arguments."""

from __future__ import annotations

import json
from pathlib import Path
import sys

from efm_core import topics
from efm_core.ros_messages import from_displacement
from efm_interfaces.srv import ResetWorld
from efm_sim.gazebo.driver_node import GazeboDriverNode, JOINT_COMMANDS
from efm_sim.gazebo.harmonic import SET_POSES
from efm_sim.table.arm import ArmKinematics
from efm_sim.table.scene import TOOL_LIMIT
from efm_sim.table.world import Table
import numpy as np
import pytest
from std_msgs.msg import Float64MultiArray

ROBOT = Path(__file__).resolve().parents[2] / 'config' / 'embodiments' / 'table_arm.yaml'
RIGHT = np.array([0.025, 0.0])  # [m]
GZ = """#!{python}
import json, sys
with open({calls!r}, 'a') as file:
    file.write(json.dumps(sys.argv[1:]) + '\\n')
print({output!r})
"""


@pytest.fixture
def gazebo(tmp_path, monkeypatch):
    """Return a function that puts a fake `gz` with a given output first in the path."""

    def install(output):
        calls = tmp_path / 'calls.jsonl'
        program = tmp_path / 'gz'
        program.write_text(GZ.format(python=sys.executable, calls=str(calls), output=output))
        program.chmod(0o755)
        monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
        return calls

    return install


@pytest.fixture
def driver(stage):
    """Return a stage with the driver and the joint positions that it publishes."""
    stage.start(GazeboDriverNode, settle_s=0.01, embodiment=str(ROBOT))
    stage.commands = stage.speak(topics.COMMAND)
    stage.joints = []
    subscription = stage.peer.create_subscription(
        Float64MultiArray, JOINT_COMMANDS, lambda m: stage.joints.append(list(m.data)), 10
    )
    stage.spin_until(lambda: subscription.get_publisher_count() > 0, 'the driver')
    return stage


def move(stage, displacement):
    stage.commands.publish(from_displacement(displacement, 10.0, 1, 'table'))


def test_a_reset_clears_the_table_moves_the_arm_and_places_the_blocks_of_mujoco(gazebo, driver):
    calls = gazebo('data: true')
    table = Table()
    table.reset(7)
    response = driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    assert response.success, response.message
    assert response.instruction == table.instruction
    clear, place = map(json.loads, calls.read_text().splitlines())
    assert clear[:3] == place[:3] == ['service', '-s', SET_POSES]
    for name, (x, y, _) in table.block_positions().items():
        pose = f'name: "{name}" position {{x: {x:.6f} y: {y:.6f}'
        assert pose in place[-1]
        assert pose not in clear[-1]
    joints = driver.hear(driver.joints)[0]
    np.testing.assert_allclose(joints, ArmKinematics().reset(table.tool_position()[:2]))


def test_commands_move_the_tool_inside_its_workspace(gazebo, driver):
    gazebo('data: true')
    driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    kinematics = ArmKinematics()
    table = Table()
    table.reset(7)
    tool = table.tool_position()[:2]
    kinematics.reset(tool)
    for step in range(20):
        tool = np.clip(tool + RIGHT, -TOOL_LIMIT, TOOL_LIMIT)
        move(driver, RIGHT)
        joints = driver.hear(driver.joints, step + 2)[-1]
        np.testing.assert_allclose(joints, kinematics.move(tool, 1), atol=1e-6)
    assert tool[0] == TOOL_LIMIT


def test_commands_before_the_first_reset_move_nothing(driver):
    move(driver, RIGHT)
    for _ in range(3):
        response = driver.call(ResetWorld, topics.RESET_WORLD, instruction='do something')
        assert 'expected an empty one' in response.message
    assert not driver.joints


def test_a_failed_reset_has_the_output_of_gazebo(gazebo, driver):
    gazebo('data: false')
    response = driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    assert not response.success
    assert "expected 'data: true', got 'data: false'" in response.message


def test_a_reset_without_gazebo_has_the_reason(driver, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    response = driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    assert not response.success
    assert 'gz service: expected a reply, got none' in response.message
