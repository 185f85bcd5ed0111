"""Specifications of arrays, checked where data enters."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
import math

import numpy as np


@dataclass(frozen=True)
class ArraySpec:
    """
    Shape, type, unit and range of one array.

    :param name: name of the array, for error messages.
    :param shape: length of each axis; None: any length.
    :param dtype: numpy type of the elements.
    :param unit: unit of the elements, for error messages.
    :param low: smallest allowed value.
    :param high: largest allowed value.
    """

    name: str
    shape: tuple[int | None, ...]
    _: KW_ONLY
    dtype: type[np.generic]
    unit: str
    low: float = -math.inf
    high: float = math.inf

    def check(self, value: np.ndarray) -> np.ndarray:
        """
        Return ``value`` unchanged if it fits the specification; NaN never does.

        :raises ValueError: with the array's name, what was expected and what was given.
        """
        if value.dtype != self.dtype:
            raise ValueError(
                f'{self.name}: expected dtype {np.dtype(self.dtype)}, got {value.dtype}'
            )
        if not self._fits(value.shape):
            raise ValueError(f'{self.name}: expected shape {self.shape}, got {value.shape}')
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ValueError(f'{self.name}: expected finite numbers [{self.unit}], got {value}')
        if value.size and not (value.min() >= self.low and value.max() <= self.high):
            raise ValueError(
                f'{self.name}: expected values in [{self.low}, {self.high}] {self.unit}, '
                f'got [{value.min()}, {value.max()}]'
            )
        return value

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, shape, strict=True)
        )


def image_spec(name: str, height: int, width: int) -> ArraySpec:
    """Return the specification of an image, ``(height, width, 3)`` uint8 RGB; sizes in pixels."""
    return ArraySpec(name, (height, width, 3), dtype=np.uint8, unit='RGB')
