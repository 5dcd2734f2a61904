"""The real service for integration tests: workers as processes on a small checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import child
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client
from glyph_worker.render.style.presets import preset_style
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerStore


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight checkpoint with the embedded reader's style: fast, and answers nonsense."""
    from synthetic.checkpoints import write_checkpoint

    folder = write_checkpoint(tmp_path_factory.mktemp("tiny"))
    (folder / "render_style.json").write_text(json.dumps(preset_style("nano").to_json()))
    return folder


@pytest.fixture(scope="session")
def endless_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one that never ends its answer by itself: each lasts as long as it was asked to."""
    from endless import make_endless
    from synthetic.checkpoints import write_checkpoint

    folder = make_endless(write_checkpoint(tmp_path_factory.mktemp("endless")))
    (folder / "render_style.json").write_text(json.dumps(preset_style("nano").to_json()))
    return folder


class Fleet:
    """Worker processes on one pair of URLs."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.processes: list[subprocess.Popen[bytes]] = []
        self.started: list[tuple[str, dict[str, str]]] = []
        settings = Settings.load(environ=environ)
        assert settings.broker_url is not None
        self.settings = settings
        self._numbers = itertools.count()
        self.client = Client(settings)
        url = settings.broker_url.get_secret_value()
        self._workers = WorkerStore(connect(url), Keys(settings.key_prefix))

    @classmethod
    def on(cls, folder: Path, broker_url: str, cache_url: str, checkpoint: Path) -> Fleet:
        return cls(folder, environment(broker_url, cache_url, checkpoint))

    def revive(self) -> None:
        """What a supervisor does: start again what ended by itself."""
        for process, (kind, environ) in list(zip(self.processes, self.started, strict=True)):
            if process.poll() is not None:
                at = self.processes.index(process)
                if process.stdin is not None:
                    process.stdin.close()
                self.processes.pop(at), self.started.pop(at)
                self.start(kind, wait=False, **environ)

    def start(self, kind: str, *, wait: bool = True, **environ: str) -> subprocess.Popen[bytes]:
        """Start a worker; by default return when it serves."""
        log = (self.folder / f"{kind}-{next(self._numbers)}.log").open("wb")
        process = subprocess.Popen(
            child.command("worker", kind),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self.environ, **environ},
        )
        log.close()
        self.processes.append(process)
        self.started.append((kind, environ))
        if wait:
            self.wait_ready(process)
        return process

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        wait_until(
            lambda: process.poll() is not None or process.pid in self.living(),
            description=f"worker {process.pid} serves\n{self.logs()}",
        )
        assert process.poll() is None, self.logs()

    @property
    def full_environ(self) -> dict[str, str]:
        return {**os.environ, **self.environ}

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

    def stop_one(self, process: subprocess.Popen[bytes]) -> None:
        """End one worker in order."""
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE_S)

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill(process)
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture(scope="session")
def fleet_class() -> type[Fleet]:
    return Fleet


@pytest.fixture
def fleet(
    tmp_path: Path, broker_url: str, cache_url: str, tiny_checkpoint: Path
) -> Iterator[Fleet]:
    """No worker runs yet; each test starts those it needs."""
    fleet = Fleet.on(tmp_path, broker_url, cache_url, tiny_checkpoint)
    yield fleet
    fleet.stop()


@pytest.fixture
def endless_fleet(
    tmp_path: Path, broker_url: str, cache_url: str, endless_checkpoint: Path
) -> Iterator[Fleet]:
    """A fleet whose answers last: for what must be seen while a job runs."""
    fleet = Fleet.on(tmp_path, broker_url, cache_url, endless_checkpoint)
    fleet.environ["GLYPH_MAX_NEW_TOKENS"] = "20000"
    fleet.client = Client(Settings.load(environ=fleet.environ))
    yield fleet
    fleet.stop()


@pytest.fixture(scope="module")
def module_fleet(
    tmp_path_factory: pytest.TempPathFactory, redis_server: Any, tiny_checkpoint: Path
) -> Iterator[Fleet]:
    """One fleet for all tests of a module, on databases of its own."""
    urls = redis_server.url(3), redis_server.url(4)
    for url in urls:
        with connect(url) as client:
            client.flushdb()
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), environment(*urls, tiny_checkpoint))
    yield fleet
    fleet.stop()


@pytest.fixture(scope="module")
def service(module_fleet: Fleet) -> Fleet:
    """The module's fleet with one worker of each kind at work."""
    module_fleet.start("render", wait=False)
    module_fleet.start("answer")
    for process in module_fleet.processes:
        module_fleet.wait_ready(process)
    return module_fleet


@pytest.fixture(scope="module")
def nano_fleet(tmp_path_factory: pytest.TempPathFactory, redis_server: Any) -> Iterator[Fleet]:
    """A fleet with the embedded reader, as a new user has it."""
    urls = redis_server.url(6), redis_server.url(7)
    for url in urls:
        with connect(url) as client:
            client.flushdb()
    fleet = Fleet(tmp_path_factory.mktemp("nano"), environment(*urls, Path("nano")))
    yield fleet
    fleet.stop()


def environment(broker_url: str, cache_url: str, checkpoint: Path) -> dict[str, str]:
    return {
        "GLYPH_BROKER_URL": broker_url,
        "GLYPH_CACHE_URL": cache_url,
        "GLYPH_MODEL": str(checkpoint),
        "GLYPH_DEVICE": "cpu",
        "GLYPH_QUEUE_LEASE_S": "4",
        "GLYPH_MAX_PAGES": "100",
        "GLYPH_QUEUE_JOB_TTL_S": "600",
    }
