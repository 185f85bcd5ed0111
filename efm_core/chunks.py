"""Chunks of actions, made from the actions of single control steps."""

from __future__ import annotations

from efm_core.embodiment import Embodiment
import numpy as np


def holding(last: np.ndarray, robot: Embodiment) -> np.ndarray:
    """
    Return the action that holds the robot after the action ``last``.

    It is a zero displacement or velocity, or the same position; a gripper keeps its position.

    :param last: ``(A,)``, units of the embodiment.
    :return: ``(A,)`` float32, units of the embodiment.
    """
    command = robot.command
    stays = command.mode == 'absolute' and command.interface_type in ('positions', 'pose')
    repeats = [stays or command.is_gripper(axis) for axis in command.axes]
    still = np.zeros(len(last), np.float32)
    return np.where(repeats, last, still).astype(np.float32) if repeats else still


def to_chunks(actions: np.ndarray, robot: Embodiment) -> np.ndarray:
    """
    Return the chunk that begins at each control step, ``(T, H, A)`` float32.

    The chunk steps after the last action hold the robot.

    :param actions: actions of single control steps, ``(T, A)``, units of the embodiment.
    """
    steps = robot.action.chunk
    if not len(actions):
        return np.zeros((0, steps, len(robot.action.names)), np.float32)
    beyond = np.repeat(holding(actions[-1], robot)[None], steps - 1, axis=0)
    longer = np.concatenate([actions, beyond]).astype(np.float32)
    return np.stack([longer[t : t + steps] for t in range(len(actions))])
