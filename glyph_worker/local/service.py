"""The whole service on one machine: embedded server and workers as processes that end together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from glyph_worker.errors import ConfigurationError, WaitTimeout
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerInfo, WorkerStore

MAX_RESTARTS = 20
LOADING_PATIENCE_S = 600.0
"""Libraries and weights from a cold disk that others use take minutes; who dies is told at once."""


class LocalService:
    """Starts what the settings lack: a server when no broker is set, and the workers."""

    def __init__(
        self,
        settings: Settings,
        *,
        num_render: int = 1,
        num_answer: int = 1,
        folder: Path | None = None,
    ) -> None:
        numbers = {"render": num_render, "answer": num_answer}
        self._kinds = [(kind, index) for kind, number in numbers.items() for index in range(number)]
        self._num_restarts = [0] * len(self._kinds)
        self.folder = (folder or settings.data_dir).expanduser()
        self.settings = settings
        self._server: EmbeddedServer | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []

    @property
    def broker_url(self) -> str:
        assert self.settings.broker_url is not None
        return self.settings.broker_url.get_secret_value()

    def start(self) -> None:
        """Returns when the server answers, workers still loading. Raises StoreUnavailable."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.settings.broker_url is None:
            self._server = EmbeddedServer(self.folder / "redis")
            self._server.start()
            self.settings = self.settings.model_copy(
                update={"broker_url": SecretStr(self._server.url())}
            )
        for kind, index in self._kinds:
            self._logs.append((self.folder / f"{kind}-{index}.log").open("ab"))
            self._workers.append(self._start_worker(kind, index))

    def _start_worker(self, kind: str, index: int) -> subprocess.Popen[bytes]:
        log = self._logs[self._kinds.index((kind, index))]
        command = [sys.executable, "-m", "glyph_worker.cli", "worker", kind, "--exit-with-parent"]
        environ = os.environ | {
            "GLYPH_BROKER_URL": self.broker_url,
            "GLYPH_MODEL": self.settings.model,
            "GLYPH_DEVICE": self.settings.device,
            "GLYPH_KEY_PREFIX": self.settings.key_prefix,
        }
        # A session of its own: Ctrl-C reaches us alone, and we end the workers in order.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environ,
            start_new_session=True,
        )

    def wait_ready(self, *, timeout_s: float = LOADING_PATIENCE_S) -> list[WorkerInfo]:
        """Block until every worker serves. Raises ConfigurationError when one ends instead."""
        workers = WorkerStore(
            connect(self.broker_url), Keys(self.settings.key_prefix), url=self.broker_url
        )
        pids = {process.pid for process in self._workers}
        deadline = time.monotonic() + timeout_s
        while True:
            for process, log in zip(self._workers, self._logs, strict=True):
                if process.poll() is not None:
                    raise ConfigurationError(
                        f"a worker ended with code {process.returncode}: {_last_line(log.name)}; "
                        f"its log is {log.name}"
                    )
            living = [info for info in workers.living() if info.pid in pids]
            if len(living) == len(pids):
                return living
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    f"{len(living)} of {len(pids)} workers serve after {timeout_s:.0f} s; "
                    f"logs are in {self.folder}"
                )
            time.sleep(0.05)

    def revive(self) -> list[str]:
        """Restart the workers that ended by themselves; one line for each.

        Raises ConfigurationError for one that does not stay up.
        """
        lines = []
        for at, process in enumerate(self._workers):
            if (code := process.poll()) is None:
                continue
            kind, index = self._kinds[at]
            self._num_restarts[at] += 1
            if self._num_restarts[at] > MAX_RESTARTS:
                raise ConfigurationError(
                    f"the {kind} worker ended {MAX_RESTARTS + 1} times, last with code {code}; "
                    f"its log is {self._logs[at].name}"
                )
            lines.append(f"{kind} worker ended with code {code}; started again")
            if process.stdin is not None:
                process.stdin.close()
            self._workers[at] = self._start_worker(kind, index)
        return lines

    def stop(self) -> None:
        """End the workers (they drain), then the server."""
        for process in self._workers:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        patience_s = self.settings.queue.drain_s + 5
        for process in self._workers:
            try:
                process.wait(timeout=patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        for log in self._logs:
            log.close()
        self._workers.clear()
        if self._server is not None:
            self._server.stop()

    def __enter__(self) -> LocalService:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _last_line(path: str) -> str:
    lines = Path(path).read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it wrote nothing"
