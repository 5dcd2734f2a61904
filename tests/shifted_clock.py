"""A process whose clock is off: libfaketime from Debian (ops/system-packages)."""

from __future__ import annotations

from pathlib import Path

import pytest


def shifted(seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is this much ahead (or, below 0, behind)."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("no libfaketime here (apt install faketime)")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
