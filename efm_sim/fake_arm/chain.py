"""A serial arm of any number of turning joints, without dynamics."""

from __future__ import annotations

from efm_core.poses import compose, from_rotation_vector, IDENTITY, rotate
import numpy as np

# Axes and links as most arms have them: turn, shoulder, elbow, roll, bend, roll, and so on.
AXES = np.array(
    [[0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0]], float
)
LINKS = np.array([0.3, 0.1, 0.4, 0.2, 0.2, 0.1, 0.1])  # from each joint to the next, along z [m]
HOME = np.array([0.0, 0.4, 1.2, 0.0, 0.9, 0.0, 0.3])  # bent, so that no direction is lost [rad]


class Chain:
    """
    Forward kinematics and the Jacobian of an arm.

    :param count: joints, 1 or more.
    """

    def __init__(self, count: int):
        self._axes = np.resize(AXES, (count, 3))
        self._links = np.resize(LINKS, count)
        self.home = np.resize(HOME, count)

    def forward(self, joints: np.ndarray) -> np.ndarray:
        """Return the tool's pose in the base, ``(7,)``, for joints ``(J,)`` [rad]."""
        return self._frames(joints)[-1]

    def jacobian(self, joints: np.ndarray) -> np.ndarray:
        """Return what each joint's speed adds to the tool's twist, ``(6, J)``."""
        frames = self._frames(joints)
        tool = frames[-1][:3]
        columns = []
        for frame, axis in zip(frames, self._axes, strict=False):
            direction = rotate(frame[3:], axis)
            columns.append(np.concatenate([np.cross(direction, tool - frame[:3]), direction]))
        return np.stack(columns, axis=1)

    def speeds(self, joints: np.ndarray, twist: np.ndarray, damping: float = 0.005) -> np.ndarray:
        """Return joint speeds ``(J,)`` [rad/s] that make a twist of the tool, nearly."""
        jacobian = self.jacobian(joints)
        damped = jacobian @ jacobian.T + damping**2 * np.eye(6)
        return jacobian.T @ np.linalg.solve(damped, twist)

    def _frames(self, joints: np.ndarray) -> list[np.ndarray]:
        """Return the pose of every joint before it turns, and of the tool."""
        pose = IDENTITY
        frames = []
        for angle, axis, link in zip(joints, self._axes, self._links, strict=True):
            frames.append(pose)
            turn = np.concatenate([np.zeros(3), from_rotation_vector(axis * angle)])
            step = np.concatenate([[0, 0, link], IDENTITY[3:]])
            pose = compose(compose(pose, turn), step)
        return [*frames, pose]
