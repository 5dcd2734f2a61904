"""That a worker process lives, told to its own machine: a file it touches. Never asks Redis.

A worker outlives its broker's outage, so whoever would restart it must not ask the broker. The file
ages when the process is gone, stopped, or so stuck that no thread of it runs any more.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

BEAT_S = 2.0
STALE_S = 45.0
"""A file older than this is no sign of life. Loading a large model may hold all threads a while."""


def default_folder() -> Path:
    """One per user, where temporary files are."""
    return Path(tempfile.gettempdir()) / f"glyph_worker-{os.getuid()}"


class Heartbeat:
    """Touches its file from `start` to `stop`, while `healthy` says so."""

    def __init__(self, folder: Path | None, kind: str) -> None:
        self._folder = folder or default_folder()
        self._file = self._folder / f"{kind}-{os.getpid()}"
        self.healthy: Callable[[], bool] = lambda: True
        """Set it to the part that must be well too, once there is one."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat-file", daemon=True)

    def start(self) -> None:
        """The first beat is there when this returns. A folder that cannot be written is logged."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _forget_the_dead(self._folder)
            self._file.touch()
        except OSError as exc:
            log.error(
                "heartbeat.not_written",
                folder=str(self._folder),
                error=exc.strerror,
                fix="set GLYPH_HEARTBEAT_DIR to a writable folder; `worker alive` fails until then",
            )
            return
        self._thread.start()

    def stop(self) -> None:
        """The file goes with the worker."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stopping.wait(BEAT_S):
            if not self.healthy():
                continue
            try:
                self._file.touch()
            except OSError as exc:
                log.warning("heartbeat.missed", error=exc.strerror)


def living(folder: Path | None, kind: str | None = None) -> list[str]:
    """`kind-pid` of the workers of this machine, of one kind or any, that beat of late."""
    found = []
    for file, pid in _beats(folder or default_folder()):
        if kind is not None and not file.name.startswith(f"{kind}-"):
            continue
        try:
            age_s = time.time() - file.stat().st_mtime
        except FileNotFoundError:
            continue  # it ended meanwhile
        if age_s < STALE_S and _exists(pid):
            found.append(file.name)
    return sorted(found)


def _beats(folder: Path) -> list[tuple[Path, int]]:
    files = list(folder.glob("*-*")) if folder.is_dir() else []
    return [(f, int(pid)) for f in files if (pid := f.name.rpartition("-")[2]).isdecimal()]


def _forget_the_dead(folder: Path) -> None:
    for file, pid in _beats(folder):
        if not _exists(pid):
            file.unlink(missing_ok=True)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
