"""Marks for tests of what `make setup` does not install."""

from __future__ import annotations

from efm_model import efficientnet
import pytest

needs_efficientnet = pytest.mark.skipif(
    not efficientnet.is_installed(), reason=efficientnet.MISSING
)
