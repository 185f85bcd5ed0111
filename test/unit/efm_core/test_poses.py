"""Poses: values computed by hand, and rotations compared with scipy."""

from __future__ import annotations

from efm_core.poses import (
    compose,
    difference,
    from_rotation_vector,
    IDENTITY,
    inverse,
    multiply,
    rotate,
    to_rotation_vector,
    TransformTree,
)
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

QUARTER = np.sqrt(0.5)
LEFT = np.array([1.0, 2.0, 3.0, 0.0, 0.0, QUARTER, QUARTER])  # a quarter turn about z


def random_pose(rng):
    """Return a pose anywhere, turned anyhow."""
    return np.concatenate([rng.normal(size=3), Rotation.random(random_state=rng).as_quat()])


def test_a_point_ahead_of_a_frame_that_looks_left_lies_to_the_left():
    ahead = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(compose(LEFT, ahead)[:3], [1.0, 3.0, 3.0], atol=1e-12)


def test_rotations_agree_with_scipy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = random_pose(rng)[3:]
        b = random_pose(rng)[3:]
        vector = rng.normal(size=3)
        np.testing.assert_allclose(
            Rotation.from_quat(multiply(a, b)).as_matrix(),
            (Rotation.from_quat(a) * Rotation.from_quat(b)).as_matrix(),
            atol=1e-12,
        )
        np.testing.assert_allclose(rotate(a, vector), Rotation.from_quat(a).apply(vector))
        np.testing.assert_allclose(to_rotation_vector(a), Rotation.from_quat(a).as_rotvec())
        np.testing.assert_allclose(
            from_rotation_vector(vector), Rotation.from_rotvec(vector).as_quat(), atol=1e-12
        )


@pytest.mark.parametrize('tiny', [0.0, 1e-14, 1e-7])
def test_a_tiny_rotation_survives_both_conversions(tiny):
    q = from_rotation_vector(np.array([tiny, 0.0, 0.0]))
    np.testing.assert_allclose(to_rotation_vector(q), [tiny, 0, 0], atol=1e-12)


def test_a_pose_and_its_inverse_cancel():
    pose = random_pose(np.random.default_rng(1))
    np.testing.assert_allclose(compose(pose, inverse(pose)), IDENTITY, atol=1e-12)


def test_the_difference_leads_from_one_pose_to_the_other():
    turned = np.concatenate([[1.0, 2.0, 3.5], from_rotation_vector(np.array([0.0, 0.0, 1.8]))])
    np.testing.assert_allclose(
        difference(turned, LEFT), [0, 0, 0.5, 0, 0, 1.8 - np.pi / 2], atol=1e-12
    )


@pytest.fixture
def tree():
    """Return base - shoulder - tool, and a camera on the base that never moves."""
    tree = TransformTree()
    tree.put('base', 'shoulder', LEFT, 70)
    tree.put('shoulder', '/tool', np.array([0.5, 0, 0, 0, 0, 0, 1.0]), 50)
    tree.put('base', 'camera', np.array([0.0, 0, 1, 0, 0, 0, 1]), None)
    return tree


def test_a_pose_is_found_down_the_tree_with_its_oldest_stamp(tree):
    pose, stamp = tree.pose('tool', '/base')
    np.testing.assert_allclose(pose[:3], [1.0, 2.5, 3.0])
    assert stamp == 50


def test_a_pose_is_found_across_branches_and_upwards(tree):
    pose, stamp = tree.pose('tool', 'camera')
    np.testing.assert_allclose(pose[:3], [1.0, 2.5, 2.0])
    assert stamp == 50
    np.testing.assert_allclose(tree.pose('base', 'camera')[0][:3], [0, 0, -1])
    assert tree.pose('base', 'camera')[1] is None


def test_unconnected_frames_are_named(tree):
    with pytest.raises(LookupError, match='expected gripper under base, got frames base, camera'):
        tree.pose('gripper', 'base')


def test_a_cycle_is_refused(tree):
    tree.put('tool', 'base', IDENTITY, 60)
    with pytest.raises(LookupError, match='expected a tree, got a cycle through'):
        tree.pose('tool', 'camera')
