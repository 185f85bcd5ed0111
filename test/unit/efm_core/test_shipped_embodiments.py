"""The shipped embodiments: each loads, and has the values of its sources."""

from __future__ import annotations

from pathlib import Path

from efm_core.embodiment import load_embodiment
from efm_core.tokeniser import ActionTokeniser
from efm_guard.commander import Commander
from efm_guard.moment import Moment
from efm_guard.setpoints import RobotState
import numpy as np
import pytest

FOLDER = Path(__file__).parents[3] / 'config' / 'embodiments'
ARMS = {
    'xarm6': ('moveit_servo', 6),
    'ur5e': ('joint_trajectory_controller', 6),
    'franka_fr3': ('joint_trajectory_controller', 7),
    'so101': ('forward_position_controller', 6),
}


@pytest.mark.parametrize('path', sorted(FOLDER.glob('*.yaml')), ids=lambda path: path.stem)
def test_each_file_is_a_robot_of_that_name(path):
    robot = load_embodiment(path)
    assert robot.name == path.stem
    assert robot.command.is_simulated != (path.stem in (*ARMS, 'aloha'))


def test_the_contracts_are_stable():
    """A change of a hash makes all existing bags and checkpoints those of another robot."""
    assert {path.stem: load_embodiment(path).hash for path in FOLDER.glob('*.yaml')} == {
        'aloha': '9511c9d352791dda',
        'franka_fr3': 'd8c7bce496cf2fc3',
        'metaworld_button_press_topdown': 'fa2d224287177367',
        'metaworld_drawer_open': '2ab2dda266d6e9e1',
        'metaworld_mt10': 'e310ae968584a478',
        'metaworld_pick_place': 'aab50af4886b591f',
        'metaworld_push': '6bac2532e2f6be9e',
        'pusht': '0f8900fbde0c238b',
        'so101': 'a04ba4fdb221b347',
        'table_arm': '708973c400a79fc8',
        'ur5e': 'be9ef1ce6a4f5c3d',
        'xarm6': '7b2606337bb54ae8',
    }


@pytest.mark.parametrize('name', ARMS)
def test_an_arm_has_the_driver_and_joints_of_its_manufacturer(name):
    robot = load_embodiment(FOLDER / f'{name}.yaml')
    controller, joints = ARMS[name]
    assert (robot.name, robot.command.controller) == (name, controller)
    assert len(robot.command.joints) == joints
    assert robot.command.topic.startswith('/')


@pytest.mark.parametrize('name', ARMS)
@pytest.mark.parametrize('end', ['low', 'high'])
def test_the_largest_action_of_an_arm_is_within_its_limits(name, end):
    robot = load_embodiment(FOLDER / f'{name}.yaml')
    limits = robot.command.limits
    ends = (limits.position_min, limits.position_max) if limits.position_min else ((0,), (0,))
    box = np.mean([limits.workspace_min or (0,) * 3, limits.workspace_max or (0,) * 3], axis=0)
    state = RobotState(np.mean(ends, axis=0), np.append(box, [0, 0, 0, 1]), stamp=10)
    values = np.array(getattr(robot.action, end), np.float32)
    driver_command = Commander(robot).driver_command(values, state, Moment(10, 10))
    assert np.isfinite(driver_command.values).all()
    if robot.command.drives_joints:
        driven = np.abs(driver_command.values - state.positions)
        np.testing.assert_allclose(driven, 0.05, atol=1e-6)
    assert (driver_command.gripper is None) == (not robot.command.gripper.action)


def test_the_xarm_moves_in_the_plane_as_language_table_does():
    robot = load_embodiment(FOLDER / 'xarm6.yaml')
    limits = robot.command.limits
    assert (robot.command.axes, robot.control_rate_hz) == (('x', 'y'), 5.0)
    assert limits.workspace_min[:2] == (0.15, -0.3048)
    assert limits.workspace_max[:2] == (0.6, 0.3048)


def test_aloha_has_the_papers_tokens_and_counts_in_chunks():
    robot = load_embodiment(FOLDER / 'aloha.yaml')
    assert ActionTokeniser(robot.action).vocabulary == (256,) * 70
    assert robot.action.chunk * robot.period_ns == robot.decision_ns == 500_000_000
    assert robot.steps_to_go.values.tolist() == list(range(301))
    assert robot.episode.max_steps * robot.action.chunk == 1500


def test_alohas_actions_are_its_joints_positions():
    robot = load_embodiment(FOLDER / 'aloha.yaml')
    middle = np.mean([robot.action.low, robot.action.high], axis=0)
    state = RobotState(middle, None, stamp=10)
    driver_command = Commander(robot).driver_command(np.float32(middle), state, Moment(10, 10))
    np.testing.assert_allclose(driver_command.values, middle, atol=1e-6)
    np.testing.assert_allclose(
        robot.action.low[:3], [-np.pi, *np.radians([-106, -101])], atol=2e-5
    )


def test_degrees_of_the_sources_are_converted_to_radians():
    ur5e = load_embodiment(FOLDER / 'ur5e.yaml').command.limits
    np.testing.assert_allclose(ur5e.position_max, np.radians([360, 360, 180, 360, 360, 360]), 1e-5)
    assert max(ur5e.max_velocity) < np.radians(180)
