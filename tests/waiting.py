"""Waiting for a fact instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

PATIENCE_S = 600.0
"""How long any test waits for a fact: far longer than the slowest, busiest machine needs. It
measures nothing and only ends what hangs."""


def wait_until(predicate: Callable[[], T], *, description: str, timeout_s: float = PATIENCE_S) -> T:
    """The predicate's first true value; fails with the description."""
    deadline = time.monotonic() + timeout_s
    while not (found := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout_s:.0f} s still not: {description}")
        time.sleep(0.02)
    return found
