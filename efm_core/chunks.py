"""Chunks of actions, made from those of single control steps."""

from __future__ import annotations

from efm_core.embodiment import Embodiment
import numpy as np


def holding(last: np.ndarray, robot: Embodiment) -> np.ndarray:
    """
    Return the action that leaves the robot where it is after the action ``last``, ``(A,)``.

    That is no displacement and no speed, or the same position again; a gripper holds its own.
    """
    command = robot.command
    stays = command.mode == 'absolute' and command.interface_type in ('positions', 'pose')
    again = [stays or command.is_gripper(axis) for axis in command.axes]
    still = np.zeros(len(last), np.float32)
    return np.where(again, last, still).astype(np.float32) if again else still


def to_chunks(actions: np.ndarray, robot: Embodiment) -> np.ndarray:
    """
    Return the chunk that begins at each control step, ``(T, H, A)`` float32.

    Whatever a chunk has beyond the end holds the robot there.

    :param actions: of single control steps, ``(T, A)``.
    """
    rows = robot.action.chunk
    if not len(actions):
        return np.zeros((0, rows, len(robot.action.names)), np.float32)
    beyond = np.repeat(holding(actions[-1], robot)[None], rows - 1, axis=0)
    longer = np.concatenate([actions, beyond]).astype(np.float32)
    return np.stack([longer[t : t + rows] for t in range(len(actions))])
