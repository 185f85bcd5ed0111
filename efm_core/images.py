"""Lossless encoding of images, and decoding of what cameras send."""

from __future__ import annotations

import struct

import cv2
import numpy as np

MAX_PIXELS = 2**26  # 8192 x 8192; a header may claim any number, and the decoder allocates it
PNG_MAGIC = b'\x89PNG\r\n\x1a\n'


def encode_png(image: np.ndarray) -> bytes:
    """
    Return an image, ``(H, W, 3)`` uint8 RGB, as PNG.

    :raises ValueError: when PNG cannot hold the image.
    """
    ok, data = cv2.imencode('.png', image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise ValueError(f'image: expected a shape that PNG can hold, got {image.shape}')
    return data.tobytes()


def decode_image(data: bytes) -> np.ndarray:
    """
    Return PNG or JPEG data as ``(H, W, 3)`` uint8 RGB.

    :raises ValueError: when the data is neither, is damaged, or claims more than
        ``MAX_PIXELS`` pixels.
    """
    size = _claimed_size(data)
    if size is None:
        raise ValueError(
            f'image: expected PNG or JPEG data, got {len(data)} bytes of another format'
        )
    height, width = size
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f'image: expected 1 to {MAX_PIXELS} pixels, got {width} x {height}')
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f'image: expected PNG or JPEG data, got damaged data: {error}') from error
    if image is None:
        raise ValueError(f'image: expected PNG or JPEG data, got {len(data)} damaged bytes')
    return np.ascontiguousarray(image[..., ::-1])


def _claimed_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width that a PNG or JPEG header claims [px]; None for other data."""
    if data[:8] == PNG_MAGIC and data[12:16] == b'IHDR' and len(data) >= 24:
        width, height = struct.unpack_from('>II', data, 16)
        return height, width
    return _jpeg_size(data) if data[:2] == b'\xff\xd8' else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width in the first frame header of a JPEG [px]."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD9 or marker == 0x01:  # fill byte, no length
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from('>HH', data, at + 5)
            return height, width
        at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return None
