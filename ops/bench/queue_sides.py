"""The workers of ops/bench/queue: our two stages with an instant engine, and plain Celery's two."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from glyph_worker.job import Answer, FinishReason, Stage
from glyph_worker.queue.names import ANSWER_TASK
from glyph_worker.settings import Settings
from glyph_worker.traces import Traces

THREADS = 10
ANSWER = "The total is 12.50 EUR."


class InstantStage:
    """The answer stage's protocol (claim, admit, read, commit) around an engine that is instant."""

    def __init__(self, settings: Settings) -> None:
        from glyph_worker.store.open import Stores

        self._settings = settings
        self._stores = Stores.open(settings)
        self._traces = Traces("", service="bench")

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def hand_back(self) -> None: ...

    def cancel(self, job_id: str) -> bool:
        return False

    def healthy(self) -> bool:
        return True

    def run(self, task: Any, job_id: str) -> None:
        from glyph_worker.worker.attempt import attempt

        attempt(
            task, self._stores.jobs, job_id, owner=self._stores.owner, stage=Stage.ENCODING,
            settings=self._settings.queue, traces=self._traces, work=self._work,
        )  # fmt: skip

    def _work(self, order: Any) -> None:
        self._stores.jobs.admit(order, batch_mates=())
        self._stores.blobs.get(order.document_digest)
        done = Answer(text=ANSWER, finish_reason=FinishReason.STOP)
        assert self._stores.jobs.succeed(order, done)


def _register(app: Celery, settings: Settings) -> InstantStage:
    stage = InstantStage(settings)
    app.glyph_stage = stage

    @app.task(name=ANSWER_TASK, bind=True, max_retries=None)  # type: ignore[untyped-decorator]
    def answer(task: Any, *_: str) -> None:
        stage.run(task, task.request.id)

    return stage


def serve_ours(kind: str) -> int:
    if kind == "answer":
        # In place of the stage that loads a model: the worker around it is the real one.
        instant = types.ModuleType("glyph_worker.worker.answer")
        instant.register = _register  # type: ignore[attr-defined]
        sys.modules["glyph_worker.worker.answer"] = instant
    from glyph_worker.telemetry import configure_logging
    from glyph_worker.worker.lifecycle import run_worker

    settings = Settings.load()
    configure_logging(settings.log_level)
    concurrency = 1 if kind == "render" else THREADS
    return run_worker(settings, kind, concurrency=concurrency)  # type: ignore[arg-type]


def plain_app(url: str) -> Celery:
    """Celery with our ack settings, a result backend, and nothing else."""
    app = Celery("plain", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        task_serializer="msgpack",
        result_serializer="msgpack",
        event_serializer="msgpack",
        accept_content=["msgpack"],
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_track_started=True,
        worker_hijack_root_logger=False,
        task_queues=[
            Queue(name, exchange=Exchange(name, type="direct"), routing_key=name)
            for name in ("first", "second")
        ],
        task_routes={"plain.first": {"queue": "first"}, "plain.second": {"queue": "second"}},
        broker_transport_options={"visibility_timeout": 30},
    )

    @app.task(name="plain.first", bind=True)  # type: ignore[untyped-decorator]
    def first(task: Any, document: str, question: str) -> None:
        raise task.replace(second.si(document, question))

    @app.task(name="plain.second")  # type: ignore[untyped-decorator]
    def second(document: str, question: str) -> str:
        return ANSWER

    return app


def serve_plain(stage: str) -> int:
    app = plain_app(os.environ["GLYPH_BROKER_URL"])
    pool, concurrency = ("prefork", 1) if stage == "first" else ("threads", THREADS)
    worker = app.Worker(
        hostname=f"{stage}@bench", pool=pool, concurrency=concurrency, queues=[stage],
        task_events=True, without_mingle=True, without_gossip=True, quiet=True, loglevel="warning",
    )  # fmt: skip
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    raise SystemExit((serve_ours if sys.argv[1] == "ours" else serve_plain)(sys.argv[2]))
