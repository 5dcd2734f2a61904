"""The processes a chaos run has started itself, and may therefore kill: workers and servers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from glyph_worker.chaos.link import Link
from glyph_worker.errors import StoreUnavailable, TransientError
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerStore

Kind = Literal["render", "answer"]


@dataclass(slots=True, eq=False)
class Worker:
    """One place in the crew; whoever fills it is started again when it ends."""

    kind: Kind
    index: int
    log: Path
    environ: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)
    paused: bool = False
    expected_to_end: bool = False
    num_starts: int = 0

    def start(self) -> None:
        self.paused = self.expected_to_end = False
        self.num_starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "glyph_worker.cli", "worker", self.kind,
                 "--concurrency", "1" if self.kind == "render" else "0", "--exit-with-parent"],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.environ,
                start_new_session=True,  # a group of its own: its children die and stop with it
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        """To the whole family."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def holds(self, owner_pid: int) -> bool:
        """Whether that process is of this family."""
        try:
            return os.getpgid(owner_pid) == self.process.pid
        except ProcessLookupError:
            return False

    def kill(self) -> None:
        self.expected_to_end = True
        self.signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()


class Crew:
    """Workers on one broker and cache; with servers of our own where the settings name none."""

    def __init__(
        self, settings: Settings, folder: Path, *, num_render: int, num_answer: int
    ) -> None:
        self.folder = folder
        self.broker: EmbeddedServer | None = None
        self.cache: EmbeddedServer | None = None
        self.links: list[Link] = []
        self.unexpected: list[str] = []
        """Workers that ended although nobody had told them to."""
        folder.mkdir(parents=True, exist_ok=True)
        urls: dict[str, str] = {}
        if settings.broker_url is None:
            self.broker = EmbeddedServer(folder / "broker")
            options = ("--appendonly", "no", "--maxmemory", "256mb",
                       "--maxmemory-policy", "allkeys-lru")  # fmt: skip
            self.cache = EmbeddedServer(folder / "cache", options=options)
            for server in (self.broker, self.cache):
                server.start()
            urls = {"broker_url": self.broker.url(), "cache_url": self.cache.url()}
        self.settings = Settings.model_validate(settings.model_dump() | urls)
        assert self.settings.broker_url is not None
        self.broker_url = self.settings.broker_url.get_secret_value()
        cache_url = self.settings.cache_url
        self.cache_url = self.broker_url if cache_url is None else cache_url.get_secret_value()
        self._presence = WorkerStore(
            connect(self.broker_url, timeout_s=2.0, num_retries=0),
            Keys(settings.key_prefix),
            url=self.broker_url,
        )
        numbers: tuple[tuple[Kind, int], ...] = (("render", num_render), ("answer", num_answer))
        self.workers = [
            Worker(kind, at, folder / f"{kind}-{at}.log", self._environ(slow=at == 0))
            for kind, number in numbers
            for at in range(number)
        ]

    def _environ(self, *, slow: bool) -> dict[str, str]:
        """The first worker of each kind reaches the broker over a link that can be slowed."""
        url, parts = self.broker_url, urlsplit(self.broker_url)
        if slow and parts.scheme == "redis" and parts.hostname:
            link = Link(parts.hostname, parts.port or 6379)
            self.links.append(link)
            login = parts.netloc.rpartition("@")[0]
            at = f"{login}@" if login else ""
            url = parts._replace(netloc=f"{at}127.0.0.1:{link.port}").geturl()
        queue, limits = self.settings.queue, self.settings.limits
        own = {
            "BROKER_URL": url,
            "CACHE_URL": self.cache_url,
            "KEY_PREFIX": self.settings.key_prefix,
            "MODEL": self.settings.model,
            "DEVICE": self.settings.device,
            "QUEUE_LEASE_S": str(queue.lease_s),
            "QUEUE_DRAIN_S": str(queue.drain_s),
            "QUEUE_JOB_TTL_S": str(queue.job_ttl_s),
            "MAX_PAGES": str(limits.max_pages),
        }
        return os.environ | {f"GLYPH_{name}": value for name, value in own.items()}

    def start(self) -> None:
        for worker in self.workers:
            worker.start()

    def serving(self, kind: str = "") -> list[Worker]:
        """Those that are up, not paused, and have said so."""
        try:
            announced = {info.pid for info in self._presence.living()}
        except TransientError:
            return []
        return [
            worker
            for worker in self.workers
            if kind in ("", worker.kind)
            and worker.process.poll() is None
            and worker.process.pid in announced
            and not (worker.paused or worker.expected_to_end)
        ]

    def capacity(self, workers: Sequence[Worker]) -> int:
        """Jobs that these work on at once, by what they last said of themselves."""
        pids = {worker.process.pid for worker in workers}
        try:
            living = self._presence.living()
        except TransientError:
            return 0
        return sum(info.capacity for info in living if info.pid in pids)

    def revive(self) -> None:
        """What a supervisor does: start again what has ended."""
        for worker in self.workers:
            if (code := worker.process.poll()) is None:
                continue
            if not worker.expected_to_end:
                self.unexpected.append(f"{worker.kind} worker ended with code {code}")
            worker.close()
            worker.start()

    def restart(self, server: EmbeddedServer, *, after_s: float) -> None:
        """kill -9, an outage, and a start on the same append-only file."""
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        time.sleep(after_s)
        while True:
            with contextlib.suppress(StoreUnavailable):
                server.start()
                return
            time.sleep(0.5)  # its port may be in use still, by an outgoing connection

    def stop(self) -> None:
        for worker in self.workers:
            if worker.num_starts:
                worker.signal(signal.SIGCONT)
                worker.process.terminate()
        patience = time.monotonic() + self.settings.queue.drain_s + 5
        for worker in self.workers:
            if not worker.num_starts:
                continue
            try:
                worker.process.wait(timeout=max(0.1, patience - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
            worker.signal(signal.SIGKILL)  # children that outlived it
            worker.close()
        for link in self.links:
            link.close()
        for server in (self.broker, self.cache):
            if server is not None:
                server.stop()
