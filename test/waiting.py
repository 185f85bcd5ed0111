"""Patience with other processes."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any


def wait_for(fact: Callable[[], Any], what: str, timeout_s: float = 90.0) -> None:
    """Look until ``fact()`` holds; fail when it does not come to hold."""
    end = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < end, f'waited {timeout_s} s in vain for {what}'
        time.sleep(0.05)
