"""The whole service on one machine: embedded server and workers as processes that end together."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pydantic import SecretStr

from glyph_worker.errors import ConfigurationError, WaitTimeout
from glyph_worker.local.process import SupervisedProcess
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerInfo, WorkerStore

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
        self._numbers = {"render": num_render, "answer": num_answer}
        self.folder = (folder or settings.data_dir).expanduser()
        self.settings = settings
        self._server: EmbeddedServer | None = None
        self._workers: list[SupervisedProcess] = []

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
        for kind, number in self._numbers.items():
            for index in range(number):
                worker = self._worker(kind, index)
                worker.start()
                self._workers.append(worker)

    def _worker(self, kind: str, index: int) -> SupervisedProcess:
        return SupervisedProcess(
            f"the {kind} worker",
            [sys.executable, "-m", "glyph_worker.cli", "worker", kind],
            log=self.folder / f"{kind}-{index}.log",
            environ={
                "GLYPH_BROKER_URL": self.broker_url,
                "GLYPH_MODEL": self.settings.model,
                "GLYPH_DEVICE": self.settings.device,
                "GLYPH_KEY_PREFIX": self.settings.key_prefix,
            },
        )

    def wait_ready(self, *, timeout_s: float = LOADING_PATIENCE_S) -> list[WorkerInfo]:
        """Block until every worker serves. Raises ConfigurationError when one ends instead."""
        workers = WorkerStore(connect(self.broker_url), Keys(self.settings.key_prefix))
        deadline = time.monotonic() + timeout_s
        while True:
            for worker in self._workers:
                if not worker.running:
                    raise ConfigurationError(
                        f"{worker.name} ended with code {worker.code}: {worker.last_words}; "
                        f"its log is {worker.log}"
                    )
            living = [
                info
                for info in workers.living()
                if any(worker.holds(info.pid) for worker in self._workers)
            ]
            if len(living) == len(self._workers):
                return living
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    f"{len(living)} of {len(self._workers)} workers serve after {timeout_s:.0f} s; "
                    f"logs are in {self.folder}"
                )
            time.sleep(0.05)

    def revive(self) -> list[str]:
        """Restart the workers that ended by themselves; one line for each.

        Raises ConfigurationError for one that does not stay up.
        """
        return [line for worker in self._workers if (line := worker.revive())]

    def stop(self) -> None:
        """End the workers (they drain), then the server."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.stop(patience_s=self.settings.queue.drain_s + 5)
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
