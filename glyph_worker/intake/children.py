"""Runs the child that reads a file, and waits for it no longer than it may take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO

from glyph_worker.intake import child

_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")
"""What a child knows of our environment: no address and no password is in it."""


def run_child(words: Sequence[object], given: bytes, *, timeout_s: float) -> tuple[int, bytes]:
    """(Exit code, or minus a signal; what it wrote). Raises subprocess.TimeoutExpired with what it
    wrote until it was ended, as `output`."""
    with _scratch() as source, _scratch() as said:
        source.write(given)
        source.seek(0)
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(child.__file__), *map(str, words)],
                stdin=source, stdout=said, stderr=subprocess.DEVNULL, check=False, cwd="/",
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
                timeout=timeout_s,
            )  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            said.seek(0)
            exc.output = said.read()
            raise
        said.seek(0)
        return done.returncode, said.read()


def _scratch() -> IO[bytes]:
    """A file without a name: a pipe could fill up while nobody reads, and has no size limit."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("glyph-intake"), "w+b")
    return tempfile.TemporaryFile()
