"""A worker process from start to orderly end: Celery's worker, our pools, drain on SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import Any, Literal

import structlog
from celery import signals
from celery.worker import state

from glyph_worker.errors import GlyphError
from glyph_worker.queue.app import make_app
from glyph_worker.queue.lease import Lease
from glyph_worker.queue.messages import num_waiting
from glyph_worker.queue.names import ANSWER_QUEUE, RENDER_QUEUE
from glyph_worker.settings import Settings
from glyph_worker.store.keys import Keys
from glyph_worker.store.open import Stores
from glyph_worker.store.workers import ANNOUNCE_S, WorkerInfo
from glyph_worker.worker.reconcile import Reconciler

log = structlog.get_logger(__name__)

DEAF_S = 10.0
"""Idle beside waiting messages for so long, a worker is deaf; its supervisor starts another."""
EX_TEMPFAIL = 75
GIVE_UP_S = 10.0
"""After the grace, time to hand back, before a draining worker ends without."""

Kind = Literal["render", "answer"]


def run_worker(
    settings: Settings, kind: Kind, *, concurrency: int = 0, exit_with_parent: bool = False
) -> int:
    """Serve one queue until told to stop. Returns the exit code.

    `concurrency` 0: one process per core to render; a quarter more threads than slots to answer,
    so that the next jobs' features are there when a slot falls free. `exit_with_parent`: drain
    when standard input ends, which it does when the parent dies, however it dies.
    """
    app = make_app(settings)
    app.glyph_hostname = f"{kind}-{os.getpid()}@{socket.gethostname()}"
    app.steps["consumer"].add(Lease)
    if kind == "answer":
        from glyph_worker.worker.answer import register as register_answer
        from glyph_worker.worker.profile import Profiler

        signals.worker_ready.connect(Profiler(settings.data_dir).install, weak=False)
        stage = register_answer(app, settings)
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
    if exit_with_parent:
        threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    log.info("worker.starting", kind=kind, concurrency=concurrency, pid=os.getpid())
    presence = Presence(settings, kind, concurrency, drain)
    signals.worker_ready.connect(presence.start, weak=False)
    worker.start()
    presence.stop()
    return int(worker.exitcode or 0)


class Presence:
    """Once a second: says that this worker lives and what it is busy with, and reconciles."""

    def __init__(self, settings: Settings, kind: Kind, capacity: int, drain: Drain) -> None:
        stores = Stores.open(settings)
        self._reconciler = Reconciler(
            stores.jobs,
            stores.broker,
            lock_key=Keys(settings.key_prefix).reconciler,
            lease_s=settings.queue.lease_s,
        )
        self._backlog, self._ladder = stores.backlog, stores.ladder
        self._workers, self._name = stores.workers, stores.owner
        self._kind, self._capacity, self._drain = kind, capacity, drain
        self._began = time.monotonic()
        self._queue = RENDER_QUEUE if kind == "render" else ANSWER_QUEUE
        self._client = stores.broker
        self._deaf_after_s = max(DEAF_S, settings.queue.lease_s)
        self._idle_since: float | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._announce, name="presence", daemon=True)

    def start(self, **_: Any) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._leaving.set()
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
            )
            try:
                self._workers.announce(info, up_s=time.monotonic() - self._began)
                self._probe()
                self._backlog.dispatch()
                self._ladder.look()
                self._reconciler.look(self._name)
            except Exception as exc:  # noqa: BLE001 - whatever it was, the next second may be better
                log.warning("presence.missed", error=type(exc).__name__)
            self._leaving.wait(ANNOUNCE_S)

    def _probe(self) -> None:
        """After a broker's restart a worker can be connected and yet take nothing: end it then."""
        idle = not state.reserved_requests and not self._drain.draining
        if not (idle and num_waiting(self._client, self._queue)):
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


def _nothing() -> None:
    """Wakes the event loop."""


def _keep_logging(**_: Any) -> None:
    """Connected, it keeps Celery from setting up logging of its own."""


def _follow_parent() -> None:
    # Not through sys.stdin: its lock would be held for ever in the children that the pool forks.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
