"""
From raw images and a measured state to what the policy sees.

`observe` does it, on robots, in bags and in simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
from efm_core.config import expect
from efm_core.embodiment import Camera, Embodiment, Proprioception, TOOL_POSE
from efm_core.observation import MeasuredState, Observation
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


def observe(
    images: Sequence[np.ndarray], embodiment: Embodiment, state: MeasuredState | None = None
) -> Observation:
    """
    Return what the policy sees of raw images and a measured state.

    :param images: one for each camera, in the embodiment's order, ``(H, W, 3)`` uint8 RGB.
    :param state: None for a robot without proprioception.
    :raises ValueError: when an image has another size or type than its camera's, or a part of the
        state is missing.
    """
    known = state or MeasuredState()
    values = [read_part(known, part) for part in embodiment.proprioception]
    return compose(images, values, embodiment)


def compose(
    images: Sequence[np.ndarray], values: Sequence[np.ndarray], embodiment: Embodiment
) -> Observation:
    """
    Return an observation of raw images and the parts of the proprioception.

    :param images: as `observe`.
    :param values: of each part of the embodiment's proprioception, in its order.
    :raises ValueError: when an image has another size or type than its camera's, or a number is
        not finite.
    """
    count = len(embodiment.cameras)
    expect(len(images) == count, 'images', f'one for each of {count} cameras', len(images))
    parts = zip(images, embodiment.cameras, embodiment.image_sizes, strict=True)
    seen = tuple(preprocess(image, camera, size) for image, camera, size in parts)
    numbers = np.concatenate([np.zeros(0), *values]).astype(np.float32)
    return Observation(seen, embodiment.proprioception_spec.check(numbers))


def blank_observation(embodiment: Embodiment) -> Observation:
    """Return an observation of black images and a state of zeros."""
    images = tuple(np.zeros((*size, 3), np.uint8) for size in embodiment.image_sizes)
    return Observation(images, np.zeros(len(embodiment.proprioception_names), np.float32))


def check_observation(observation: Observation, embodiment: Embodiment) -> Observation:
    """
    Return one observation unchanged if it fits the embodiment.

    :raises ValueError: with the camera, what was expected and what was given.
    """
    count = len(embodiment.cameras)
    given = len(observation.images)
    expect(given == count, 'images', f'one for each of {count} cameras', given)
    for image, spec in zip(observation.images, embodiment.image_specs, strict=True):
        spec.check(image)
    embodiment.proprioception_spec.check(observation.proprioception)
    return observation


def read_part(state: MeasuredState, part: Proprioception) -> np.ndarray:
    """
    Return the numbers of one part, in the order of its names.

    :raises ValueError: when a number is missing.
    """
    if part.source == TOOL_POSE:
        known = len(state.tool_pose) == 7
        expect(known, TOOL_POSE, 'a measured pose', 'none')
        return state.tool_pose
    values = state.positions if part.source == 'joint_positions' else state.velocities
    found = dict(zip(state.joints, values, strict=False))
    missing = [joint for joint in part.joints if joint not in found]
    expect(not missing, part.source, f'a value of {", ".join(missing)}', list(found))
    return np.array([found[joint] for joint in part.joints])
