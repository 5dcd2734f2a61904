"""One owner per data folder: a lock that ends with the processes that hold it, however they die."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from glyph_worker.errors import ConfigurationError

NAME = "owner.pid"
ENDING_S = 15.0
"""A server whose owner is dead is about to end: wait so long for it."""


class FolderInUse(ConfigurationError):
    """Another process keeps its data in this folder."""

    code = "folder_in_use"


class FolderLock:
    """Held from `take` until `release`, and by every child that inherits `descriptor`.

    The child keeps it when we are killed, so nobody opens a file that it is still writing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.descriptor = -1

    def take(self) -> None:
        """Raises FolderInUse."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + ENDING_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                # Ours, and let go: a server that we killed is about to end, and holds it still.
                other = _alive(owner) and owner != str(os.getpid())
                if other or time.monotonic() > deadline:
                    os.close(descriptor)
                    raise FolderInUse(
                        f"{self._path.parent} is in use by process {owner or 'unknown'}: two "
                        "servers on one append-only file lose jobs; stop the other "
                        f"(kill {owner or 'its pid'}), or give this one a folder of its own "
                        "(GLYPH_DATA_DIR)",
                        pid=int(owner) if owner.isdecimal() else 0,
                        folder=str(self._path.parent),
                    ) from None
                time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self.descriptor = descriptor

    def release(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _alive(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
