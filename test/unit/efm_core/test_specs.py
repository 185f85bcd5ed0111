"""Array specifications: valid arrays pass, others raise an error that names both."""

from __future__ import annotations

from efm_core.specs import ArraySpec, image_spec
import numpy as np
import pytest

ACTION = ArraySpec('action', (2,), dtype=np.float32, unit='m', low=-0.025, high=0.025)


def test_a_valid_array_is_returned_unchanged():
    value = np.array([-0.025, 0.02], np.float32)
    assert (
        ArraySpec('a', (2,), dtype=np.float32, unit='m', low=-0.03, high=0.03).check(value)
        is value
    )


def test_none_in_the_shape_allows_any_length():
    spec = ArraySpec('states', (None, 3), dtype=np.uint8, unit='')
    for length in (0, 1, 7):
        spec.check(np.zeros((length, 3), np.uint8))


@pytest.mark.parametrize(
    ('value', 'said'),
    [
        (np.zeros(2), r'action: expected dtype float32, got float64'),
        (np.zeros(3, np.float32), r'action: expected shape \(2,\), got \(3,\)'),
        (np.zeros((1, 2), np.float32), r'action: expected shape \(2,\), got \(1, 2\)'),
        (np.array([np.nan, 0], np.float32), r'action: expected finite numbers \[m\], got'),
        (np.array([0, np.inf], np.float32), r'action: expected finite numbers'),
        (np.array([0, 0.026], np.float32), r'expected values in \[-0.025, 0.025\] m, got \[0.0'),
    ],
)
def test_the_error_has_the_name_the_expected_and_the_actual_value(value, said):
    with pytest.raises(ValueError, match=said):
        ACTION.check(value)


def test_infinity_is_refused_even_without_bounds():
    with pytest.raises(ValueError, match='finite'):
        ArraySpec('x', (1,), dtype=np.float32, unit='').check(np.array([np.inf], np.float32))


def test_an_image_has_three_channels_of_bytes():
    spec = image_spec('table', 4, 6)
    spec.check(np.zeros((4, 6, 3), np.uint8))
    for wrong in (np.zeros((6, 4, 3), np.uint8), np.zeros((4, 6), np.uint8)):
        with pytest.raises(ValueError, match='table: expected shape'):
            spec.check(wrong)
