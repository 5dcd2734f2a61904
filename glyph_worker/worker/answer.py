"""The answer stage: page features → engine → answer, many jobs at once in one process."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from functools import partial
from pathlib import PurePath
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import KombuError

from glyph_worker.errors import DeadlinePassed, GlyphError, TransientError, WorkerDraining
from glyph_worker.job import Answer, Stage
from glyph_worker.queue.names import ANSWER_TASK
from glyph_worker.settings import Settings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.open import Stores
from glyph_worker.traces import Traces
from glyph_worker.worker.answer_run import AnswerRun
from glyph_worker.worker.attempt import Cancelled, Fenced, attempt, retry_until_stored
from glyph_worker.worker.inference import Inference
from glyph_worker.worker.page_source import PageSource
from glyph_worker.worker.parts import reading_name
from glyph_worker.worker.reporter import Reporter
from glyph_worker.worker.suspect_gate import Gate

log = structlog.get_logger(__name__)

HEARTBEAT_S = 0.5
"""How often progress is written, leases are renewed and cancels are seen."""

EXIT_GRACE_S = 2.0
"""After the engine's end, time for its jobs to be handed back."""
EX_SOFTWARE = 70


class AnswerStage:
    """One per process; `run` is called from one cheap thread per job in flight."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._settings = settings
        self._app = app
        self._stores = Stores.open(settings)
        self._runs: dict[str, AnswerRun] = {}
        self._lock = threading.Lock()
        self._gate = Gate()
        self._traces = Traces(settings.trace_endpoint, service="glyph-answer")
        self._reporter = Reporter(self._stores.tally, self._stores.owner)
        self._stopping = threading.Event()
        self._dead = threading.Event()
        self._draining = False
        self._parts: Inference | None = None
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._cancel_listener = threading.Thread(target=self._listen, name="cancels", daemon=True)

    @property
    def parts(self) -> Inference:
        assert self._parts is not None, "start comes first"
        return self._parts

    def start(self) -> None:
        """Load, warm up, then let jobs come. Raises ModelUnusable."""
        began = time.perf_counter()
        self._parts = Inference.start(
            self._settings,
            self._stores.cache,
            self._stores.streams,
            on_fatal=self._engine_died,
        )
        self._heart.start()
        self._cancel_listener.start()
        log.info(
            "worker.ready",
            owner=self._stores.owner,
            backend=self.parts.backend.name,
            model=self.parts.backend.model,
            device=self.parts.backend.device,
            attention=self.backend,
            refused=len(self.refusals),
            load_ms=round((time.perf_counter() - began) * 1e3),
        )

        for refusal in self.refusals:
            log.warning("worker.slower_than_wanted", attention=self.backend, refused=refusal)

    @property
    def backend(self) -> str:
        """How the engine computes, by name."""
        return self.parts.backend.how

    @property
    def engine(self) -> str:
        """GLYPH_BACKEND of this worker."""
        return self.parts.backend.name

    @property
    def lacks(self) -> frozenset[str]:
        """Job options that its backend cannot follow."""
        return self.parts.backend.lacks

    @property
    def refusals(self) -> list[str]:
        """Faster ways that were wanted and are not used, each with its reason."""
        return self.parts.backend.refusals

    @property
    def reach(self) -> dict[str, Any]:
        """What render workers must know to cut what is too long here, in WorkerInfo's names."""
        backend = self.parts.backend
        return {
            "max_tokens": backend.max_tokens,
            "pool_tokens": backend.pool_tokens,
            "page_marks": max(len(backend.prompt.page_lead(index)) for index in (0, 1)),
            "identity": backend.model,
        }

    # The pool's side (queue.pool.StageInProcess) -------------------------------------------------

    def stop(self) -> None:
        self._stopping.set()
        self._reporter.poll(self.parts.backend, now=True)
        self.parts.stop()
        self._traces.close()

    def cancel(self, job_id: str) -> bool:
        return self._interrupt(job_id, Cancelled("the producer took the job back"))

    def healthy(self) -> bool:
        """False once the engine has ended itself: the lease on its jobs must end with it."""
        return not self._dead.is_set()

    def hand_back(self) -> None:
        """Stop every sequence; their jobs go back to the queue for another worker."""
        self._draining = True
        for job_id in list(self._runs):
            self._interrupt(job_id, WorkerDraining("this worker is stopping"))

    def _interrupt(self, job_id: str, reason: Exception) -> bool:
        run = self._runs.get(job_id)
        if run is None:
            return False
        run.interrupt(reason)  # type: ignore[arg-type]
        self.parts.backend.cancel(job_id)
        return True

    def _engine_died(self, exc: BaseException) -> None:
        """The engine's threads cannot be trusted any more: end the process, lease and all."""
        log.error("worker.dying", error=type(exc).__name__)
        self._dead.set()
        threading.Timer(EXIT_GRACE_S, os._exit, args=(EX_SOFTWARE,)).start()

    # One job -------------------------------------------------------------------------------------

    def run(self, task: Any, job_id: str) -> None:
        """The body of the Celery task. Ends the job, or as `attempt` says."""
        with self._lock:
            other = self._runs.get(job_id)
            if other is None:
                run = self._runs[job_id] = AnswerRun(job_id)
        if other is not None:
            # The same id while it runs here: attach to the run, do not repeat it.
            log.info("job.attached", job_id=job_id)
            other.done.wait()
            return
        try:
            attempt(
                task,
                self._stores.jobs,
                job_id,
                owner=self._stores.owner,
                stage=Stage.ENCODING,
                settings=self._settings.queue,
                traces=self._traces,
                work=partial(self._work, run),
            )
        finally:
            with self._lock:
                del self._runs[job_id]
            run.done.set()

    def _work(self, run: AnswerRun, claimed: ClaimedJob) -> None:
        if self._draining:
            raise WorkerDraining("this worker is stopping")
        run.claimed = claimed
        with self._gate.enter(
            claimed.job_id, alone=claimed.strikes > 0, check=run.check
        ) as batch_mates:
            if self._stores.jobs.admit(claimed, batch_mates=batch_mates) is None:
                raise Fenced("a later attempt holds the job")
            source = PageSource(self._settings, self._stores, claimed)
            answer = run.answer(claimed, self.parts, self._settings, source)

        def commit() -> bool:
            if run.stream is not None:
                run.stream.finish(answer.text)
            return self._stores.jobs.succeed(claimed, answer, run.progress)

        # The commit comes before the ack: a crash between the two repeats work but loses nothing.
        if not retry_until_stored(commit):
            raise Fenced("a later attempt holds the job, or it is final")
        if claimed.parent:
            self._keep(claimed, source, answer)
        receipt = answer.receipt
        self._reporter.add(answer)
        if self._traces.on:
            self._traces.note(**dataclasses.asdict(receipt))
            model = PurePath(self._settings.model).name
            self._traces.note_answer(claimed.job_id, model, claimed.options, answer)
        log.info(
            "job.succeeded",
            job_id=claimed.job_id,
            attempt=claimed.attempt,
            num_pages=receipt.pages_encoded + receipt.pages_reused,
            num_encoded=receipt.pages_encoded,
            num_answer_tokens=receipt.answer_tokens,
            total_ms=round(receipt.total_ms),
        )

    def _keep(self, claimed: ClaimedJob, source: PageSource, answer: Answer) -> None:
        """A part's answer, for the same part of another job or of this one's retry."""
        identity = self.parts.backend.model
        name = reading_name(
            claimed.document_digest, claimed.question, claimed.options, source.salt,
            source.style.digest, identity,
        )  # fmt: skip
        try:
            self._stores.readings.put(name, answer, salt=source.salt)
        except TransientError as exc:
            log.warning("cache.skipped", what="reading", error=exc.code)

    # Heartbeat and cancels -----------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_S):
            self._reporter.poll(self.parts.backend)
            for run in list(self._runs.values()):
                claimed = run.claimed
                if claimed is None or run.done.is_set():
                    continue
                if run.stopped_by is not None:
                    # It may have entered the engine after it was interrupted.
                    self.parts.backend.cancel(run.job_id)
                    continue
                try:
                    go_on = self._stores.jobs.update(
                        claimed, stage=run.stage, progress=run.progress
                    )
                except GlyphError as exc:
                    log.warning("heartbeat.missed", error=exc.code)
                    break
                if go_on is None:
                    self._interrupt(run.job_id, Fenced("a later attempt holds the job"))
                elif not go_on:
                    self.cancel(run.job_id)
                elif claimed.deadline_at is not None and claimed.now() > claimed.deadline_at:
                    self._interrupt(run.job_id, DeadlinePassed.before_claim())
                else:
                    self._notify_flower(run)

    def _notify_flower(self, run: AnswerRun) -> None:
        """Flower shows the stage as a state of its own, of jobs that outlast a heartbeat."""
        stage = run.stage
        if stage is run.told:
            return
        try:
            with self._app.events.default_dispatcher(hostname=self._app.glyph_hostname) as events:
                events.send(f"task-{stage.value}", uuid=run.job_id)
        except (KombuError, GlyphError, OSError) as exc:
            log.debug("stage.not_told", job_id=run.job_id, error=type(exc).__name__)
            return
        run.told = stage

    def _listen(self) -> None:
        """The fast path of a cancel; the record's flag, read by the heartbeat, is the sure one."""
        while not self._stopping.is_set():
            try:
                for job_id in self._stores.cancels.listen(self._stopping):
                    self.cancel(job_id)
            except GlyphError as exc:
                log.warning("cancels.deaf", error=exc.code)
                self._stopping.wait(1.0)


def register(app: Celery, settings: Settings) -> AnswerStage:
    """Give the app the answer task and the stage that its pool feeds."""
    stage = AnswerStage(settings, app)
    app.glyph_stage = stage

    @app.task(name=ANSWER_TASK, bind=True, max_retries=None)  # type: ignore[untyped-decorator]
    def answer(task: Any, *_: str) -> None:
        stage.run(task, task.request.id)

    return stage
