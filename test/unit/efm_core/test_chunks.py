"""Chunks made from single actions: the next control steps, and a hold after the last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from efm_core.chunks import holding, to_chunks
from efm_core.embodiment import load_embodiment
import numpy as np
import pytest

FOLDER = Path(__file__).parents[3] / 'config' / 'embodiments'


def robot(name: str, chunk: int = 3):
    found = load_embodiment(FOLDER / f'{name}.yaml')
    return replace(found, action=replace(found.action, chunk=chunk))


def test_a_chunk_is_the_next_actions_and_holds_the_robot_after_the_last():
    actions = np.float32([[0.01, 0.0], [0.02, 0.0], [0.0, 0.02], [0.01, 0.01]])
    still = [0.0, 0.0]
    expected = [
        [actions[0], actions[1], actions[2]],
        [actions[1], actions[2], actions[3]],
        [actions[2], actions[3], still],
        [actions[3], still, still],
    ]
    found = to_chunks(actions, robot('table_arm'))
    np.testing.assert_array_equal(found, np.float32(expected))
    assert found.dtype == np.float32


def test_no_actions_are_no_chunks():
    assert to_chunks(np.zeros((0, 2), np.float32), robot('table_arm')).shape == (0, 3, 2)


@pytest.mark.parametrize(
    ('name', 'again'),
    [
        ('table_arm', []),  # displacements of the tool
        ('ur5e', []),  # displacements of joints
        ('franka_fr3', [-1]),  # likewise, and a gripper's position
        ('aloha', range(14)),  # positions
    ],
)
def test_holding_is_no_displacement_or_the_same_position(name, again):
    arm = robot(name)
    last = np.arange(1, 1 + len(arm.action.names), dtype=np.float32)
    expected = np.zeros_like(last)
    expected[list(again)] = last[list(again)]
    np.testing.assert_array_equal(holding(last, arm), expected)


def test_holding_a_velocity_is_zero():
    arm = robot('aloha')
    limits = replace(arm.command.limits, max_following_error=0.0)
    command = replace(arm.command, controller='forward_velocity_controller', limits=limits)
    assert not holding(np.ones(14, np.float32), replace(arm, command=command)).any()
