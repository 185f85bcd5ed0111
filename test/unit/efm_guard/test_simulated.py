"""What an action becomes for a simulated robot of any dimension, and what stops it."""

from __future__ import annotations

from efm_core.embodiment import load_embodiment
from efm_guard.commander import Commander
from efm_guard.guard import ActionRequest, Guard
from efm_guard.moment import Moment
from efm_guard.setpoints import RobotState
import hand
import numpy as np
import pytest

NOW = Moment(10**12, 10**12)
NOTHING = RobotState()  # a simulated robot needs no measured state


@pytest.fixture
def robot(tmp_path):
    return load_embodiment(hand.write(tmp_path / 'hand.yaml'))


def test_the_values_are_the_action_bit_for_bit(robot):
    values = np.float32([0.1, -0.7, 1.0, -1.0])
    command = Commander(robot).driver_command(values, NOTHING, NOW)
    np.testing.assert_array_equal(command.values.astype(np.float32), values)
    assert command.gripper is None  # no ROS action drives it


def test_a_stop_is_zero_and_keeps_the_gripper_however_often_it_comes(robot):
    commander = Commander(robot)
    assert commander.stop(NOTHING, NOW) is None
    commander.driver_command(np.float32([0.1, 0.2, 0.3, 1.0]), NOTHING, NOW)
    for _ in range(2):
        np.testing.assert_array_equal(commander.stop(NOTHING, NOW), [0, 0, 0, 1])
    commander.driver_command(np.float32([0.1, 0.2, 0.3, -1.0]), NOTHING, NOW)
    np.testing.assert_array_equal(commander.stop(NOTHING, NOW), [0, 0, 0, -1])


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ([0, 0, 0, 1.5], 'action: expected values in'),
        ([0, 0, 0], 'action: expected shape'),
        ([0, 0, 0, np.nan], 'action: expected finite'),
    ],
)
def test_the_guard_refuses_an_action_outside_its_range(robot, values, said):
    guard = Guard(robot, lockstep=True)
    request = ActionRequest(
        'first',
        1000,
        deadline=0,
        embodiment_hash=robot.hash,
        values=np.array(values, np.float32),
    )
    assert guard.on_action(request, NOW) is None
    assert guard.last_refusal.startswith(said)
