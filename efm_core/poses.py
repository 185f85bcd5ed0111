"""
Poses, and the tree of transforms.

A pose is ``(7,)`` float64: x, y, z [m] and a unit quaternion x, y, z, w, as in ROS. Rotations are
quaternions ``(4,)`` or rotation vectors ``(3,)`` [rad].
"""

from __future__ import annotations

import numpy as np

IDENTITY = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def multiply(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the product of two quaternions, ``(4,)``: rotation by ``q``, then by ``p``."""
    vector = p[3] * q[:3] + q[3] * p[:3] + np.cross(p[:3], q[:3])
    return np.append(vector, p[3] * q[3] - p[:3] @ q[:3])


def rotate(q: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return ``vector``, ``(3,)``, rotated by the quaternion ``q``."""
    across = 2 * np.cross(q[:3], vector)
    rotated: np.ndarray = vector + q[3] * across + np.cross(q[:3], across)
    return rotated


def from_rotation_vector(vector: np.ndarray) -> np.ndarray:
    """Return the quaternion of the rotation about ``vector``, ``(3,)``, by its length [rad]."""
    angle = float(np.linalg.norm(vector))
    half = np.sinc(angle / 2 / np.pi) / 2  # sin(angle / 2) / angle, also at zero
    return np.append(np.asarray(vector) * half, np.cos(angle / 2))


def to_rotation_vector(q: np.ndarray) -> np.ndarray:
    """Return the shortest rotation vector of a quaternion, ``(3,)`` [rad]."""
    q = q if q[3] >= 0 else -q
    sine = float(np.linalg.norm(q[:3]))
    return q[:3] * (2.0 if sine < 1e-12 else 2 * np.arctan2(sine, q[3]) / sine)


def compose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the pose ``b``, given in a frame with pose ``a``, in the frame of ``a``."""
    turn = multiply(a[3:], b[3:])
    return np.concatenate([a[:3] + rotate(a[3:], b[:3]), turn / np.linalg.norm(turn)])


def inverse(pose: np.ndarray) -> np.ndarray:
    """Return the pose of the parent frame in the child frame, from the child's in the parent."""
    back = pose[3:] * (-1, -1, -1, 1)
    return np.concatenate([rotate(back, -pose[:3]), back])


def difference(goal: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Return displacement [m] and rotation vector [rad] from ``pose`` to ``goal``, ``(6,)``."""
    turn = multiply(goal[3:], pose[3:] * (-1, -1, -1, 1))
    return np.concatenate([goal[:3] - pose[:3], to_rotation_vector(turn)])


class TransformTree:
    """
    The newest transform of each frame, and poses between any two frames.

    :ivar parents: for each child its parent, its pose in the parent and the stamp [ns], which is
        None for a static transform.
    """

    def __init__(self) -> None:
        self.parents: dict[str, tuple[str, np.ndarray, int | None]] = {}

    def put(self, parent: str, child: str, pose: np.ndarray, stamp: int | None) -> None:
        """Store one transform; ``stamp`` [ns] is None for a static one."""
        self.parents[child.lstrip('/')] = (parent.lstrip('/'), pose, stamp)

    @property
    def frames(self) -> set[str]:
        """All frames of the tree."""
        return {*self.parents, *(parent for parent, _, _ in self.parents.values())}

    def pose(self, frame: str, seen_from: str) -> tuple[np.ndarray, int | None]:
        """
        Return the pose of ``frame`` in the frame ``seen_from``, and its oldest stamp [ns].

        :raises LookupError: when no transforms connect the two frames.
        """
        here = self._way_up(frame)
        there = self._way_up(seen_from)
        common = next((name for name in here if name in there), None)
        if common is None:
            known = ', '.join(sorted(self.frames)) or 'none'
            raise LookupError(f'tf: expected {frame} under {seen_from}, got frames {known}')
        a, stamp_a = here[common]
        b, stamp_b = there[common]
        stamps = [stamp for stamp in (stamp_a, stamp_b) if stamp is not None]
        return compose(inverse(b), a), min(stamps, default=None)

    def _way_up(self, frame: str) -> dict[str, tuple[np.ndarray, int | None]]:
        """Return each frame above, with the pose of ``frame`` in it and the oldest stamp."""
        frame = frame.lstrip('/')
        pose = IDENTITY
        stamps: list[int] = []
        found: dict[str, tuple[np.ndarray, int | None]] = {frame: (pose, None)}
        while frame in self.parents:
            frame, step, stamp = self.parents[frame]
            if frame in found:
                raise LookupError(f'tf: expected a tree, got a cycle through {frame}')
            stamps += [] if stamp is None else [stamp]
            pose = compose(step, pose)
            found[frame] = (pose, min(stamps, default=None))
        return found
