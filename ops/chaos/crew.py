"""The processes a chaos run has started itself, and may therefore kill: workers and servers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from chaos import child, disk, namespaces
from chaos.before import environ_before
from chaos.disk import SmallDisk
from chaos.follow import Gateway, key_of
from chaos.link import Link
from chaos.namespaces import CutOff
from chaos.plan import FaultKind
from glyph_worker.errors import StoreUnavailable, TransientError
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerStore

Kind = Literal["render", "answer"]
CUTS = frozenset({FaultKind.CUT_BROKER, FaultKind.CUT_CACHE})


def impossible(kinds: Iterable[FaultKind]) -> dict[FaultKind, str]:
    """Which of these faults this machine does not allow, and why."""
    ask = {
        FaultKind.DISK_FULL: disk.missing,
        FaultKind.CUT_BROKER: namespaces.missing,
        FaultKind.CUT_CACHE: namespaces.missing,
    }
    return {kind: why for kind in set(kinds) if kind in ask and (why := ask[kind]())}


@dataclass(slots=True, eq=False)
class Worker:
    """One place in the crew; whoever fills it is started again when it ends."""

    kind: Kind
    index: int
    log: Path
    environ: dict[str, str]
    prefix: list[str] = field(default_factory=list)
    """Before its command: to run it in a network of its own."""
    next_environ: Mapping[str, str] = field(default_factory=dict)
    """Added once, at its next start."""
    code: Path | None = None
    """The tree it runs from; None: this one."""
    process: subprocess.Popen[bytes] = field(init=False)
    paused: bool = False
    expected_to_end: bool = False
    num_starts: int = 0

    def start(self) -> None:
        self.paused = self.expected_to_end = False
        own = {} if self.code is None else environ_before(self.code)
        environ = {**self.environ, **own, **self.next_environ}
        self.next_environ = {}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *child.command("worker", self.kind, "--concurrency",
                                              "1" if self.kind == "render" else "0")],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environ, cwd=self.code,
                start_new_session=True,  # a group of its own: its children die and stop with it
            )  # fmt: skip
        self.num_starts += 1

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


class Broker(EmbeddedServer):
    """Ours to restart, also so that it says for a while that it is loading."""

    def start_slowly(self, pause_us: int) -> None:
        """`pause_us`: for each command of its file."""
        plain = self._options
        self._options = (*plain, "--key-load-delay", str(pause_us))
        try:
            self.start(timeout_s=90)
        finally:
            self._options = plain


class Crew:
    """Workers on one broker and cache; with servers of our own where the settings name none."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        num_render: int,
        num_answer: int,
        faults: Iterable[FaultKind] = (),
        tenants: Sequence[str] = (),
    ) -> None:
        """`faults`: of those that need something built beforehand. `tenants`: of the gateway."""
        self.folder = folder
        self.settings = settings
        self.broker: Broker | None = None
        self.cache: EmbeddedServer | None = None
        self.disk: SmallDisk | None = None
        self.cut_off: CutOff | None = None
        self.gateway: Gateway | None = None
        self.links: list[Link] = []
        self.cache_links: list[Link] = []
        self.workers: list[Worker] = []
        self.unexpected: list[str] = []
        """Processes that ended although nobody had told them to."""
        try:
            self._build(settings, frozenset(faults), num_render, num_answer, tenants)
        except BaseException:  # an interrupt too: servers, links and disks do not stay behind
            self.stop()
            raise

    def _build(
        self,
        settings: Settings,
        wanted: frozenset[FaultKind],
        num_render: int,
        num_answer: int,
        tenants: Sequence[str],
    ) -> None:
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        urls: dict[str, str] = {}
        if settings.broker_url is None:
            urls = self._start_servers(wanted)
        self.settings = Settings.model_validate(settings.model_dump() | urls)
        assert self.settings.broker_url is not None
        self.broker_url = self.settings.broker_url.get_secret_value()
        cache_url = self.settings.cache_url
        self.cache_url = self.broker_url if cache_url is None else cache_url.get_secret_value()
        self._presence = WorkerStore(
            connect(self.broker_url, timeout_s=2.0, num_retries=0),
            Keys(settings.key_prefix),
        )
        if wanted & CUTS:
            self.cut_off = CutOff({name: folder / f"{name}.sock" for name in namespaces.SERVERS})
            self.cut_off.open()
        numbers: tuple[tuple[Kind, int], ...] = (("render", num_render), ("answer", num_answer))
        self.workers = [self._worker(kind, at) for kind, number in numbers for at in range(number)]
        if FaultKind.KILL_GATEWAY in wanted:
            keys = ",".join(f"{tenant}:{key_of(tenant)}" for tenant in tenants)
            environ = self.environ(self.broker_url, self.cache_url)
            self.gateway = Gateway(
                folder / "gateway.log", environ | {"GLYPH_GATEWAY_API_KEYS": keys}
            )

    def _start_servers(self, wanted: frozenset[FaultKind]) -> dict[str, str]:
        home = self.folder / "broker"
        if FaultKind.DISK_FULL in wanted:
            self.disk = SmallDisk(home)
            self.disk.mount()
        sockets = {name: self.folder / f"{name}.sock" for name in namespaces.SERVERS}
        own = {name: ("--unixsocket", str(path)) for name, path in sockets.items()}
        self.broker = Broker(home, options=own["broker"])
        options = ("--appendonly", "no", "--maxmemory", "256mb",
                   "--maxmemory-policy", "allkeys-lru", *own["cache"])  # fmt: skip
        self.cache = EmbeddedServer(self.folder / "cache", options=options)
        for server in (self.broker, self.cache):
            server.start()
        return {"broker_url": self.broker.url(), "cache_url": self.cache.url()}

    def _worker(self, kind: Kind, at: int) -> Worker:
        """The first of each kind has links that can be slowed, the second answer worker a network
        of its own."""
        urls, prefix = (self.broker_url, self.cache_url), list[str]()
        if self.cut_off is not None and (kind, at) == ("answer", 1):
            prefix = self.cut_off.prefix
            urls = (self.cut_off.url("broker"), self.cut_off.url("cache"))
        elif at == 0:
            urls = (self._slowed(urls[0], self.links), self._slowed(urls[1], self.cache_links))
        return Worker(kind, at, self.folder / f"{kind}-{at}.log", self.environ(*urls), prefix)

    @staticmethod
    def _slowed(url: str, links: list[Link]) -> str:
        parts = urlsplit(url)
        if parts.scheme != "redis" or not parts.hostname:
            return url
        links.append(Link(parts.hostname, parts.port or 6379))
        login = parts.netloc.rpartition("@")[0]
        at = f"{login}@" if login else ""
        return parts._replace(netloc=f"{at}127.0.0.1:{links[-1].port}").geturl()

    def environ(self, broker_url: str, cache_url: str) -> dict[str, str]:
        """Of a process of ours that reaches the servers there."""
        queue, limits = self.settings.queue, self.settings.limits
        own = {
            "BROKER_URL": broker_url,
            "CACHE_URL": cache_url,
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
        if self.gateway is not None:
            self.gateway.start()

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
        if self.gateway is not None and (code := self.gateway.revive()) is not None:
            self.unexpected.append(f"gateway ended with code {code}")

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

    def load_slowly(self, seconds: float) -> None:
        """kill -9 the broker and start it so that it loads its data for about so long."""
        assert self.broker is not None
        with connect(self.broker_url) as client:
            size = int(client.info("persistence")["aof_current_size"])
        os.kill(self.broker.pid, signal.SIGKILL)
        self.broker.stop()
        # A command takes some two hundred bytes of the file.
        self.broker.start_slowly(max(1, round(seconds * 1e6 / max(1, size // 200))))
        with connect(self.broker_url) as client:
            client.config_set("key-load-delay", 0)

    def stop(self) -> None:
        """Each step is taken, whatever another raises; the last named is the first."""
        with contextlib.ExitStack() as steps:
            if self.disk is not None:
                steps.callback(self.disk.unmount)
            for server in (self.broker, self.cache):
                if server is not None:
                    steps.callback(server.stop)
            if self.cut_off is not None:
                steps.callback(self.cut_off.close)
            for link in (*self.links, *self.cache_links):
                steps.callback(link.close)
            steps.callback(self._stop_workers)
            if self.gateway is not None:
                steps.callback(self.gateway.stop)
            if self.cut_off is not None:
                steps.callback(self._join)

    def _join(self) -> None:
        assert self.cut_off is not None
        for name in namespaces.SERVERS:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.cut_off.set(name, "up")

    def _stop_workers(self) -> None:
        started = [worker for worker in self.workers if worker.num_starts]
        for worker in started:
            worker.signal(signal.SIGCONT)
            worker.process.terminate()
        patience = time.monotonic() + self.settings.queue.drain_s + 5
        for worker in started:
            try:
                worker.process.wait(timeout=max(0.1, patience - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
            worker.signal(signal.SIGKILL)  # children that outlived it
            worker.close()
