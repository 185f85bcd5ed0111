"""The driver of the arm in Gazebo Harmonic, in front of a `gz` that only writes down."""

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
with open({said!r}, 'a') as file:
    file.write(json.dumps(sys.argv[1:]) + '\\n')
print({answer!r})
"""


@pytest.fixture
def gazebo(tmp_path, monkeypatch):
    """Return a function that puts a `gz` first in the path, which answers as told."""

    def install(answer):
        said = tmp_path / 'said.jsonl'
        program = tmp_path / 'gz'
        program.write_text(GZ.format(python=sys.executable, said=str(said), answer=answer))
        program.chmod(0o755)
        monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
        return said

    return install


@pytest.fixture
def driver(stage):
    """Return a stage with the driver, and the joints that it commands."""
    stage.start(GazeboDriverNode, settle_s=0.01, embodiment=str(ROBOT))
    stage.commands = stage.speak(topics.COMMAND)
    stage.joints = []
    heard = stage.peer.create_subscription(
        Float64MultiArray, JOINT_COMMANDS, lambda m: stage.joints.append(list(m.data)), 10
    )
    stage.spin_until(lambda: heard.get_publisher_count() > 0, 'the driver')
    return stage


def move(stage, displacement):
    stage.commands.publish(from_displacement(displacement, 10.0, 1, 'table'))


def test_a_reset_clears_the_table_brings_the_arm_home_and_lays_mujocos_scene(gazebo, driver):
    said = gazebo('data: true')
    table = Table()
    table.reset(7)
    answer = driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    assert answer.success, answer.message
    assert answer.instruction == table.instruction
    clear, lay = map(json.loads, said.read_text().splitlines())
    assert clear[:3] == lay[:3] == ['service', '-s', SET_POSES]
    for name, (x, y, _) in table.block_positions().items():
        here = f'name: "{name}" position {{x: {x:.6f} y: {y:.6f}'
        assert here in lay[-1]
        assert here not in clear[-1]
    joints = driver.hear(driver.joints)[0]
    np.testing.assert_allclose(joints, ArmKinematics().reset(table.tool_position()[:2]))


def test_commands_move_the_tool_step_by_step_and_never_off_the_table(gazebo, driver):
    gazebo('data: true')
    driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    kinematics = ArmKinematics()
    tool = Table()
    tool.reset(7)
    place = tool.tool_position()[:2]
    kinematics.reset(place)
    for step in range(20):
        place = np.clip(place + RIGHT, -TOOL_LIMIT, TOOL_LIMIT)
        move(driver, RIGHT)
        joints = driver.hear(driver.joints, step + 2)[-1]
        np.testing.assert_allclose(joints, kinematics.move(place, 1), atol=1e-6)
    assert place[0] == TOOL_LIMIT


def test_before_a_reset_nothing_moves(driver):
    move(driver, RIGHT)
    for _ in range(3):
        answer = driver.call(ResetWorld, topics.RESET_WORLD, instruction='do something')
        assert 'expected an empty one' in answer.message
    assert not driver.joints


def test_a_gazebo_that_refuses_is_quoted(gazebo, driver):
    gazebo('data: false')
    answer = driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    assert not answer.success
    assert "expected 'data: true', got 'data: false'" in answer.message


def test_without_gazebo_it_says_so(driver, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    answer = driver.call(ResetWorld, topics.RESET_WORLD, seed=7)
    assert not answer.success
    assert 'gz service: expected an answer, got none' in answer.message
