"""One observation, or several with leading axes."""

from __future__ import annotations

from dataclasses import replace

from efm_core.observation import Observation
import numpy as np
import pytest


def observation(number: int, numbers: int = 2) -> Observation:
    """Return an observation of two cameras of different sizes, all of whose values are equal."""
    images = (np.full((4, 6, 3), number, np.uint8), np.full((2, 3, 3), number, np.uint8))
    return Observation(images, np.full(numbers, number, np.float32))


def shapes(seen: Observation) -> list[tuple[int, ...]]:
    return [array.shape for array in (*seen.images, seen.proprioception)]


@pytest.mark.parametrize('leading', [(), (5,), (5, 2)])
def test_images_alone_have_an_empty_proprioception_with_the_same_leading_axes(leading):
    seen = Observation.of(np.zeros((*leading, 4, 6, 3), np.uint8))
    assert seen.proprioception.shape == (*leading, 0)
    assert seen.proprioception.dtype == np.float32


@pytest.mark.parametrize('numbers', [0, 2])
def test_a_stack_has_a_new_first_axis_and_gives_its_parts_back(numbers):
    parts = [observation(k, numbers) for k in range(3)]
    stack = Observation.stack(parts)
    assert shapes(stack) == [(3, 4, 6, 3), (3, 2, 3, 3), (3, numbers)]
    assert len(stack) == 3
    assert all(one.equals(other) for one, other in zip(stack, parts, strict=True))
    assert stack[-1].equals(parts[2])
    assert shapes(stack[1:]) == [(2, 4, 6, 3), (2, 2, 3, 3), (2, numbers)]
    assert stack[[2, 0]].equals(Observation.stack([parts[2], parts[0]]))


def test_concatenation_joins_the_first_axes():
    first, second = (Observation.stack([observation(k)] * (k + 1)) for k in range(2))
    joined = Observation.concatenate([first, second])
    assert shapes(joined) == [(3, 4, 6, 3), (3, 2, 3, 3), (3, 2)]
    assert joined.images[1][:, 0, 0, 0].tolist() == [0, 1, 1]
    assert joined.proprioception[:, 0].tolist() == [0, 1, 1]


def test_observations_of_different_robots_are_not_joined():
    with pytest.raises(ValueError, match='shorter'):
        Observation.stack([observation(0), Observation.of(observation(0).images[0])])


def test_equal_observations_have_equal_numbers_in_all_parts():
    seen = observation(1)
    assert seen.equals(observation(1))
    other = (seen.images[0], observation(2).images[1])
    assert not seen.equals(replace(seen, images=other))
    assert not seen.equals(replace(seen, images=seen.images[:1]))
    assert not seen.equals(replace(seen, proprioception=np.float32([1, 2])))
