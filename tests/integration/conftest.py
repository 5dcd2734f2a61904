"""The real service for integration tests: workers as processes on a small checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from glyph_worker.client import Client
from glyph_worker.render.style import Style
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerStore


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight checkpoint with the embedded reader's style: fast, and answers nonsense."""
    import json

    from glyph_worker.model.synthetic import write_checkpoint

    folder = write_checkpoint(tmp_path_factory.mktemp("tiny"))
    style = Style.preset("nano").to_json()
    (folder / "render_style.json").write_text(json.dumps(style))
    return folder


class Fleet:
    """Worker processes on one pair of URLs."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.processes: list[subprocess.Popen[bytes]] = []
        settings = Settings.load(environ=environ)
        assert settings.broker_url is not None
        self.settings = settings
        self.client = Client(settings)
        url = settings.broker_url.get_secret_value()
        self._workers = WorkerStore(connect(url), Keys(settings.key_prefix), url=url)

    def start(self, kind: str, *, wait: bool = True, **environ: str) -> subprocess.Popen[bytes]:
        """Start a worker; by default return when it serves."""
        log = (self.folder / f"{kind}-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "glyph_worker.cli", "worker", kind, "--exit-with-parent"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self.environ, **environ},
        )
        log.close()
        self.processes.append(process)
        if wait:
            self.wait_ready(process)
        return process

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        wait_until(
            lambda: process.poll() is not None or process.pid in self.living(),
            description=f"worker {process.pid} serves\n{self.logs()}",
            timeout_s=90,
        )
        assert process.poll() is None, self.logs()

    def living(self) -> list[int]:
        return [info.pid for info in self._workers.living()]

    def logs(self) -> str:
        return "\n".join(
            f"{path.name}:\n{path.read_text()[-4000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9, children and all."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        process.wait()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill(process)
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture
def fleet(
    tmp_path: Path, broker_url: str, cache_url: str, tiny_checkpoint: Path
) -> Iterator[Fleet]:
    """No worker runs yet; each test starts those it needs."""
    fleet = Fleet(tmp_path, environment(broker_url, cache_url, tiny_checkpoint))
    yield fleet
    fleet.stop()


def environment(broker_url: str, cache_url: str, checkpoint: Path) -> dict[str, str]:
    return {
        "GLYPH_BROKER_URL": broker_url,
        "GLYPH_CACHE_URL": cache_url,
        "GLYPH_MODEL": str(checkpoint),
        "GLYPH_DEVICE": "cpu",
        "GLYPH_QUEUE_LEASE_S": "4",
        "GLYPH_QUEUE_JOB_TTL_S": "600",
    }
