"""Labelled pictures of gym-pusht."""

from __future__ import annotations

from efm_core.embodiment import load_embodiment
from efm_model.labelled import load_labelled
from efm_sim.gym.pusht_pictures import draw_pictures, EMBODIMENT, main
import numpy as np
import pytest

# Colours inside the outlines.
PUSHER = [78, 126, 255]
TEE = [143, 163, 184]


@pytest.fixture(scope='module')
def drawn():
    return draw_pictures(60, 4, (256, 256))


def test_the_labels_are_the_positions_of_pusher_stem_and_bar(drawn):
    images, points = drawn
    assert images.shape == (60, 256, 256, 3)
    assert images.dtype == np.uint8
    assert points.shape == (60, 3, 2)
    assert points.dtype == np.float32
    for image, three in zip(images, points, strict=True):
        at = ((three + 1) / 2 * 256).astype(int)
        assert image[at[0, 1], at[0, 0]].tolist() == PUSHER
        for spot in at[1:]:
            is_hidden = np.linalg.norm(spot - at[0]) < 10
            is_inside = (spot > 4).all() and (spot < 251).all()  # of the board's border
            if is_inside and not is_hidden:
                assert image[spot[1], spot[0]].tolist() == TEE


def test_half_of_the_tees_lie_close_to_the_goal(drawn):
    _, points = drawn
    goal = (np.array([256, 256]) + np.array([-1, 1]) / np.sqrt(2) * 105) / 256 - 1  # of the stem
    near = np.linalg.norm(points[:, 1] - goal, axis=1) < 0.4
    assert 0.4 < near.mean() < 0.9


def test_equal_seeds_give_equal_pictures(drawn):
    images, points = draw_pictures(2, 4, (256, 256))
    np.testing.assert_array_equal(images, drawn[0][:2])
    np.testing.assert_array_equal(points, drawn[1][:2])
    assert (draw_pictures(2, 5, (256, 256))[1] != points).any()


def test_the_file_has_the_format_of_labelled_data(drawn, tmp_path):
    main([str(tmp_path / 'new' / 'pictures.npz'), '--count', '24', '--seed', '4'])
    found = load_labelled(tmp_path / 'new' / 'pictures.npz', load_embodiment(EMBODIMENT))
    assert found.images.shape == (24, 64, 64, 3)
    np.testing.assert_allclose(found.points, drawn[1][:24], atol=1e-6)
    assert found.sentences == ('push the T onto its green outline',)
