"""From a camera image to the policy's input, and its lossless encoding in bags."""

from __future__ import annotations

import cv2
from efm_core.embodiment import Camera, Embodiment
from efm_core.specs import image_spec
import numpy as np


def preprocess(image: np.ndarray, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """
    Return the policy's input, ``(*size, 3)`` uint8 RGB: ``image`` cropped and resized.

    :param image: ``(camera.height, camera.width, 3)`` uint8 RGB.
    :param size: height and width of the result [px].
    :raises ValueError: when the image has another size or type than the camera's.
    """
    image_spec(camera.name, camera.height, camera.width).check(image)
    left, top, width, height = camera.crop
    if width:
        image = image[top : top + height, left : left + width]
    if image.shape[:2] == tuple(size):
        return np.ascontiguousarray(image)
    height, width = size
    resized: np.ndarray = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def observe(image: np.ndarray, embodiment: Embodiment) -> np.ndarray:
    """Return the policy's input, ``(H, W, 3)`` uint8 RGB, from the image of the camera."""
    return preprocess(image, embodiment.cameras[0], embodiment.observation_size)


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

    :raises ValueError: when the data is neither.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ValueError(
            f'image: expected PNG or JPEG data, got {len(data)} bytes of another format'
        )
    return np.ascontiguousarray(image[..., ::-1])
