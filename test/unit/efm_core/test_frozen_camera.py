"""A camera that repeats one image is found; a still scene before a sensor is not."""

from __future__ import annotations

from efm_core.frozen_camera import FrozenCamera
import numpy as np
import pytest

PERIOD = 33_000_000  # [ns]


def after(limit, images):
    """Return the watch after these images, with new stamps each."""
    camera = FrozenCamera(limit)
    for number, image in enumerate(images):
        camera.add(1 + number * PERIOD, image)
    return camera


def noisy(count):
    """Return images of a still scene, as a sensor sees it."""
    random = np.random.default_rng(3)
    scene = random.integers(20, 200, (24, 32, 3))
    return [np.uint8(scene + random.integers(-1, 2, scene.shape)).tobytes() for _ in range(count)]


def test_a_still_scene_before_a_sensor_is_no_fault():
    camera = after(4, noisy(50))
    assert (camera.warning, camera.fault) == ('', '')


@pytest.mark.parametrize('image', [noisy(1)[0], bytes(2304)], ids=['frozen', 'black'])
def test_one_image_again_and_again_is_a_warning_and_then_a_fault(image):
    assert after(10, [*noisy(9), *[image] * 4]).warning == ''
    assert 'got the same 5 times' in after(10, [image] * 5).warning
    assert after(10, [image] * 9).fault == ''
    assert 'restart its driver' in after(10, [image] * 10).fault


def test_a_new_image_ends_the_fault():
    one, other = noisy(2)
    assert after(3, [one] * 5).fault
    assert not after(3, [*[one] * 5, other]).fault


def test_the_same_sample_twice_is_one_image():
    camera = FrozenCamera(2)
    for _ in range(5):
        camera.add(7, b'image')
    assert not camera.fault


def test_a_limit_of_zero_compares_nothing():
    assert after(0, [b'image'] * 100).warning == ''
