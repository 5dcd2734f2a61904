"""A clock that is wrong, for one process: what it takes for the time of day, and nothing else.

Not by libfaketime, whose 0.9.10 moves the ends of sleeps as well: `time.sleep` then fails.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("wrong_clock")


def environment(off_s: float, *, code: Path | None = None) -> dict[str, str]:
    """Of a process whose clock is `off_s` ahead; `code` is the tree that it runs from, if any."""
    places = [str(place) for place in (FOLDER, code) if place is not None]
    return {"CHAOS_CLOCK_OFF_S": str(off_s), "PYTHONPATH": os.pathsep.join(places)}
