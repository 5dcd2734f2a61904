"""Waiting for a fact instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], *, description: str, timeout_s: float = 30.0) -> T:
    """The predicate's first true value; fails with the description."""
    deadline = time.monotonic() + timeout_s
    while not (found := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout_s:.0f} s still not: {description}")
        time.sleep(0.02)
    return found
