"""A clock that is wrong, for one process: libfaketime before it."""

from __future__ import annotations

import glob

_PLACES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1",
           "/usr/local/lib/faketime/libfaketime.so.1")  # fmt: skip


def library() -> str:
    """Its path, '' where it is not installed."""
    return next((found for place in _PLACES for found in sorted(glob.glob(place))), "")


def missing() -> str:
    """Why there can be no such process here; '' where there can."""
    return "" if library() else "there is no libfaketime: apt-get install libfaketime"


def environment(off_s: float) -> dict[str, str]:
    """Of a process whose wall clock is `off_s` ahead. What it measures waits with stays right."""
    return {
        "LD_PRELOAD": library(),
        "FAKETIME": f"{off_s:+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
