"""A worker process from start to orderly end: Celery's worker, our pools, drain on SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

import structlog
from celery import signals
from celery.worker import state

from glyph_worker.errors import ConfigurationError, GlyphError, TransientError
from glyph_worker.queue.app import make_app
from glyph_worker.queue.frames import forget_frames
from glyph_worker.queue.lease import Lease
from glyph_worker.queue.messages import num_waiting
from glyph_worker.queue.names import ANSWER_QUEUE, RENDER_QUEUE
from glyph_worker.render.choose import resolve_style
from glyph_worker.settings import Settings
from glyph_worker.store.connection import check_allowed
from glyph_worker.store.keys import Keys
from glyph_worker.store.open import Stores
from glyph_worker.store.workers import ANNOUNCE_S, WorkerInfo
from glyph_worker.worker.ending import EX_TEMPFAIL, Closing, Ending
from glyph_worker.worker.heartbeat import Heartbeat
from glyph_worker.worker.reconcile import Reconciler
from glyph_worker.worker.style_check import StyleCheck

if TYPE_CHECKING:
    from glyph_worker.render.style.style import Style
    from glyph_worker.worker.answer import AnswerStage

log = structlog.get_logger(__name__)

DEAF_S = 10.0
"""Idle beside waiting messages for so long, a worker is deaf; its supervisor starts another."""
CACHE_CHECK_S = 10.0
"""How often a worker asks whether the cache server lets it in."""
GIVE_UP_S = 10.0
"""After the grace, time to hand back, before a draining worker ends without."""

Kind = Literal["render", "answer"]


def run_worker(settings: Settings, kind: Kind, *, concurrency: int = 0) -> int:
    """Serve one queue until told to stop. Returns the exit code.

    A server that is away, full, loading or read-only is waited for. Raises ConfigurationError, or
    returns its exit code, for what only an operator can mend: a wrong password, say.

    `concurrency` 0: one process per core to render; a quarter more threads than slots to answer,
    so that the next jobs' features are there when a slot falls free.
    """
    app = make_app(settings)
    for secret in (settings.broker_url, settings.cache_url):
        if secret is not None:
            check_allowed(secret.get_secret_value())
    app.glyph_hostname = f"{kind}-{os.getpid()}@{socket.gethostname()}"
    app.steps["consumer"].add(Lease)
    app.steps["worker"].add(Closing)
    heartbeat = Heartbeat(settings.heartbeat_dir, kind)
    heartbeat.start()  # before anything loads: loading is no reason to be restarted
    style = resolve_style(settings, "auto")
    if kind == "answer":
        if settings.backend == "own":
            _wait_asleep()
        from glyph_worker.worker.answer import register as register_answer
        from glyph_worker.worker.profile import Profiler

        signals.worker_ready.connect(Profiler(settings.data_dir).install, weak=False)
        stage = register_answer(app, settings)
        heartbeat.healthy = stage.healthy
        # Load and compile before Celery connects: nothing is prefetched before the engine is
        # ready, and a checkpoint that cannot be used ends the process with its own error.
        stage.start()
        concurrency = concurrency or settings.engine.max_slots + max(
            1, settings.engine.max_slots // 4
        )
        pool, queue = "glyph_worker.queue.pool:TaskPool", ANSWER_QUEUE
    else:
        from glyph_worker.worker.render import register as register_render

        render_stage = register_render(app, settings)
        signals.worker_process_init.connect(lambda **_: render_stage.warm_up(), weak=False)
        signals.worker_process_shutdown.connect(lambda **_: render_stage.close(), weak=False)
        stage = None
        concurrency = concurrency or os.cpu_count() or 1
        pool, queue = "glyph_worker.queue.prefork:TaskPool", RENDER_QUEUE
    worker = app.Worker(
        hostname=app.glyph_hostname,
        pool=pool,
        concurrency=concurrency,
        queues=[queue],
        task_events=True,
        without_mingle=True,
        without_gossip=True,
        quiet=True,
        loglevel=settings.log_level,
    )
    drain = Drain(worker, stage, grace_s=settings.queue.drain_s)
    signals.worker_ready.connect(drain.install, weak=False)
    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.task_postrun.connect(forget_frames, weak=False)
    log.info(
        "worker.starting",
        kind=kind,
        concurrency=concurrency,
        pid=os.getpid(),
        style=style.name,
        style_digest=style.digest[:12],
    )
    leaving = threading.Event()
    app.glyph_ending = ending = Ending(
        worker, patience_s=settings.queue.drain_s, on_begin=leaving.set
    )
    presence = Presence(
        settings, kind, concurrency, drain, ending, leaving, style=style, stage=stage
    )
    signals.worker_ready.connect(presence.start, weak=False)
    worker.start()
    ending.begin()
    presence.stop()
    heartbeat.stop()
    return int(worker.exitcode or 0)


class Presence:
    """Once a second: says that this worker lives and what it is busy with, and reconciles."""

    def __init__(
        self,
        settings: Settings,
        kind: Kind,
        capacity: int,
        drain: Drain,
        ending: Ending,
        leaving: threading.Event,
        *,
        style: Style,
        stage: AnswerStage | None,
    ) -> None:
        stores = Stores.open(settings)
        self._keys = Keys(settings.key_prefix)
        self._reconciler = Reconciler(
            stores.jobs, stores.broker, self._keys, lease_s=settings.queue.lease_s
        )
        self._ending, self._leaving = ending, leaving
        self._cache, self._cache_checked_at = stores.cache, 0.0
        self._backlog, self._ladder = stores.backlog, stores.ladder
        self._workers, self._name = stores.workers, stores.owner
        self._kind, self._capacity, self._drain = kind, capacity, drain
        self._model = PurePath(settings.model).name
        self._began = time.monotonic()
        self._style, self._stage = style, stage
        self._style_check = StyleCheck(stores.workers)
        self._queue = RENDER_QUEUE if kind == "render" else ANSWER_QUEUE
        self._client = stores.broker
        self._deaf_after_s = max(DEAF_S, settings.queue.lease_s)
        self._idle_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self, **_: Any) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        try:
            self._announce()
        except ConfigurationError as exc:
            log.error("worker.misconfigured", error=exc.code, message=str(exc))
            self._ending.end_with(exc.exit_code)
        with contextlib.suppress(GlyphError):
            self._workers.leave(self._name)

    def _announce(self) -> None:
        while not self._leaving.is_set():
            info = WorkerInfo(
                name=self._name,
                kind=self._kind,
                pid=os.getpid(),
                capacity=self._capacity,
                num_running=len(state.active_requests),
                draining=self._drain.draining,
                model=self._model,
                style=self._style.name,
                style_digest=self._style.digest,
                backend=self._stage.backend if self._stage else "",
                engine=self._stage.engine if self._stage else "",
                lacks=tuple(sorted(self._stage.lacks)) if self._stage else (),
                refusals=tuple(self._stage.refusals) if self._stage else (),
                **(self._stage.reach if self._stage else {}),
            )
            try:
                self._workers.announce(info, up_s=time.monotonic() - self._began)
                self._style_check.poll(time.monotonic())
                self._probe()
                self._backlog.dispatch()
                self._ladder.poll()
                self._reconciler.poll(self._name)
                self._check_cache()
            except ConfigurationError:
                raise
            except Exception as exc:  # noqa: BLE001 - whatever it was, the next second may be better
                log.warning("presence.missed", error=type(exc).__name__)
            self._leaving.wait(ANNOUNCE_S)

    def _check_cache(self) -> None:
        """A cache that refuses us would fail every job; one that is away only slows them."""
        if time.monotonic() >= self._cache_checked_at:
            self._cache_checked_at = time.monotonic() + CACHE_CHECK_S
            with contextlib.suppress(TransientError):
                self._cache.ping()

    def _probe(self) -> None:
        """After a broker's restart a worker can be connected and yet take nothing: end it then."""
        idle = not state.reserved_requests and not self._drain.draining
        if not (idle and num_waiting(self._client, self._keys, self._queue)):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > self._deaf_after_s:
            log.error("worker.deaf", queue=self._queue, idle_s=round(self._deaf_after_s))
            os._exit(EX_TEMPFAIL)


class Drain:
    """SIGTERM or SIGINT: take no more, finish within the grace, hand back the rest, exit 0.

    Celery's own warm shutdown closes the connection before the last acks are out; here the event
    loop, and with it acks and lease, runs on until nothing is in flight. A second signal hands
    back at once.
    """

    def __init__(self, worker: Any, stage: Any, *, grace_s: float) -> None:
        self._worker = worker
        self._stage = stage
        self._grace_s = grace_s
        self._deadline: float | None = None

    @property
    def draining(self) -> bool:
        return self._deadline is not None

    def install(self, **_: Any) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, _: object) -> None:
        if self._deadline is not None:
            self._deadline = time.monotonic()
            return
        self._deadline = time.monotonic() + self._grace_s
        log.info("worker.draining", signal=signal.Signals(signum).name, grace_s=self._grace_s)
        self._worker.consumer.hub.call_soon(self._stop_taking)
        threading.Thread(target=self._drain, name="drain", daemon=True).start()
        end = threading.Timer(self._grace_s + GIVE_UP_S, self._give_up)
        end.daemon = True
        end.start()

    def _give_up(self) -> None:
        """A broker that is away takes nothing back: end all the same, the lease does the rest."""
        log.error("worker.drain_gave_up", num_left=len(state.reserved_requests))
        os._exit(EX_TEMPFAIL)

    def _stop_taking(self) -> None:
        consumer = self._worker.consumer
        for queue in list(consumer.task_consumer.queues):
            consumer.cancel_task_queue(queue)

    def _restore(self) -> None:
        """Render: back to the queue with what no child finished; records follow by their lease."""
        channel = self._worker.consumer.task_consumer.channel
        channel.qos.restore_unacked()

    def _drain(self) -> None:
        assert self._deadline is not None
        handed_back = False
        while state.reserved_requests:
            if time.monotonic() >= self._deadline and not handed_back:
                handed_back = True
                if self._stage is None:
                    self._worker.consumer.hub.call_soon(self._restore)
                    time.sleep(0.5)
                    break
                self._stage.hand_back()
            time.sleep(0.05)
        log.info("worker.drained", num_left=len(state.reserved_requests))
        # Let the event loop send the last acks before it is told to end.
        time.sleep(0.2)
        state.should_stop = 0
        self._worker.consumer.hub.call_soon(_nothing)


def _wait_asleep() -> None:
    """Let OpenMP's threads sleep where they wait for each other. Call it before torch is loaded.

    Awake, they burn the cores that the others need: beside other processes that loaded both of two
    cores, an answer worker took 5.6 times the CPU seconds and 4.3 times the time.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _nothing() -> None:
    """Wakes the event loop."""


def _keep_logging(**_: Any) -> None:
    """Connected, it keeps Celery from setting up logging of its own."""
