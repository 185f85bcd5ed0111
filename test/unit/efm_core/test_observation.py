"""From the camera's image to the policy's input."""

from __future__ import annotations

import cv2
from efm_core.embodiment import Camera
from efm_core.images import decode_image, encode_png
from efm_core.preprocessing import observe, preprocess
import numpy as np
import pytest

NOISE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)


def test_an_image_of_the_right_size_is_unchanged():
    out = preprocess(NOISE, Camera('c', 'image', height=8, width=12), (8, 12))
    np.testing.assert_array_equal(out, NOISE)


def test_crop_is_left_top_width_height():
    out = preprocess(NOISE, Camera('c', 'image', height=8, width=12, crop=(3, 1, 6, 4)), (4, 6))
    np.testing.assert_array_equal(out, NOISE[1:5, 3:9])
    assert out.flags.c_contiguous


def test_halving_takes_the_mean_of_four_pixels():
    out = preprocess(NOISE, Camera('c', 'image', height=8, width=12), (4, 6))
    means = NOISE.reshape(4, 2, 6, 2, 3).astype(float).mean(axis=(1, 3))
    assert out.shape == (4, 6, 3)
    np.testing.assert_allclose(out, means, atol=0.51)


def test_size_is_height_then_width():
    assert preprocess(NOISE, Camera('c', 'image', height=8, width=12), (16, 5)).shape == (16, 5, 3)


@pytest.mark.parametrize(
    ('picture', 'said'),
    [
        (NOISE[:7], r'table: expected shape \(8, 12, 3\), got \(7, 12, 3\)'),
        (NOISE.swapaxes(0, 1), r'got \(12, 8, 3\)'),
        (NOISE[..., 0], r'got \(8, 12\)'),
        (NOISE.astype(np.float32), 'expected dtype uint8, got float32'),
    ],
)
def test_an_image_of_another_size_or_type_is_refused(picture, said):
    with pytest.raises(ValueError, match=said):
        preprocess(picture, Camera('table', 'image', height=8, width=12), (4, 4))


def test_an_observation_fits_its_specification(embodiment):
    picture = np.zeros((64, 64, 3), np.uint8)
    embodiment.observation_spec.check(observe(picture, embodiment))


def test_png_loses_nothing():
    np.testing.assert_array_equal(decode_image(encode_png(NOISE)), NOISE)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('size', [(1, 1), (8, 12), (480, 640)])
def test_a_header_states_the_size_of_the_picture(suffix, size):
    data = cv2.imencode(suffix, np.zeros((*size, 3), np.uint8))[1].tobytes()
    assert decode_image(data).shape == (*size, 3)


def test_a_header_that_claims_too_many_pixels_is_refused_before_they_are_allocated():
    data = bytearray(encode_png(NOISE))
    data[16:24] = (40_000).to_bytes(4, 'big') * 2
    with pytest.raises(ValueError, match='expected 1 to 67108864 pixels, got 40000 x 40000'):
        decode_image(bytes(data))
    data = bytearray(cv2.imencode('.jpg', NOISE)[1].tobytes())
    place = data.index(b'\xff\xc0') + 5
    data[place : place + 4] = b'\xff' * 4
    with pytest.raises(ValueError, match='got 65535 x 65535'):
        decode_image(bytes(data))


@pytest.mark.parametrize('suffix', ['.bmp', '.tiff', '.webp'])
def test_only_png_and_jpeg_reach_a_decoder(suffix):
    data = cv2.imencode(suffix, NOISE)[1].tobytes()
    with pytest.raises(ValueError, match='of another format'):
        decode_image(data)


@pytest.mark.parametrize('length', [0, 1, 8, 20, 30, 60])
def test_a_picture_cut_short_is_refused(length):
    with pytest.raises(ValueError, match='expected PNG or JPEG data'):
        decode_image(encode_png(NOISE)[:length])
