"""Lossless encoding of images, and decoding of what cameras send."""

from __future__ import annotations

import cv2
from efm_core.images import decode_image, encode_png
import numpy as np
import pytest

NOISE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)


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
