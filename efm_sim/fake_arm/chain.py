"""Kinematics of a serial arm with any number of revolute joints."""

from __future__ import annotations

from efm_core.poses import compose, from_rotation_vector, IDENTITY, rotate
import numpy as np

# Axes and links of a common arm: base, shoulder, elbow and wrist joints; they repeat beyond 7.
AXES = np.array(
    [[0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0]], float
)
LINKS = np.array([0.3, 0.1, 0.4, 0.2, 0.2, 0.1, 0.1])  # from each joint to the next, along z [m]
HOME = np.array([0.0, 0.4, 1.2, 0.0, 0.9, 0.0, 0.3])  # bent, away from singularities [rad]


class Chain:
    """
    Forward kinematics and Jacobian of an arm.

    :param count: number of joints, 1 or more.
    :ivar home: start positions of the joints, ``(J,)`` [rad].
    """

    def __init__(self, count: int):
        self._axes = np.resize(AXES, (count, 3))
        self._links = np.resize(LINKS, count)
        self.home = np.resize(HOME, count)

    def forward(self, joints: np.ndarray) -> np.ndarray:
        """Return the tool's pose in the base, ``(7,)``, for joint positions ``(J,)`` [rad]."""
        return self._frames(joints)[-1]

    def jacobian(self, joints: np.ndarray) -> np.ndarray:
        """Return the Jacobian from joint velocities to the tool's twist, ``(6, J)``."""
        frames = self._frames(joints)
        tool = frames[-1][:3]
        columns = []
        for frame, axis in zip(frames, self._axes, strict=False):
            direction = rotate(frame[3:], axis)
            columns.append(np.concatenate([np.cross(direction, tool - frame[:3]), direction]))
        return np.stack(columns, axis=1)

    def joint_velocities(
        self, joints: np.ndarray, twist: np.ndarray, damping: float = 0.005
    ) -> np.ndarray:
        """
        Return the joint velocities that approximate a twist of the tool, ``(J,)`` [rad/s].

        :param joints: joint positions, ``(J,)`` [rad].
        :param twist: ``(6,)`` [m/s, rad/s].
        :param damping: of the least-squares solution.
        """
        jacobian = self.jacobian(joints)
        damped = jacobian @ jacobian.T + damping**2 * np.eye(6)
        return jacobian.T @ np.linalg.solve(damped, twist)

    def _frames(self, joints: np.ndarray) -> list[np.ndarray]:
        """Return the poses of all joints, before their own rotation, and of the tool."""
        pose = IDENTITY
        frames = []
        for angle, axis, link in zip(joints, self._axes, self._links, strict=True):
            frames.append(pose)
            rotation = np.concatenate([np.zeros(3), from_rotation_vector(axis * angle)])
            translation = np.concatenate([[0, 0, link], IDENTITY[3:]])
            pose = compose(compose(pose, rotation), translation)
        return [*frames, pose]
