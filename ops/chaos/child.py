"""A worker or gateway that is our own child and ends with us: for whoever kills, counts and looks.

The product's processes end with their supervisor by a shell between the two (local/process); here
the process that is started must be the worker itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

# By descriptor: the lock of sys.stdin's buffer would stay held in forked children.
_FOLLOW = """
import os, runpy, signal, threading

def follow():
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=follow, name="parent", daemon=True).start()
runpy.run_module("glyph_worker.cli", run_name="__main__")
"""


def command(*words: str) -> Sequence[str]:
    """`glyph-worker WORDS`, told to end when its standard input ends: when whoever holds that dies,
    however it dies."""
    return [sys.executable, "-c", _FOLLOW, *words]
