"""The answer stage: page features → engine → answer, many jobs at once in one process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import structlog
from celery import Celery

from glyph_worker.document import Page
from glyph_worker.engine.engine import AnswerRequest, Engine, Outcome, PageInput
from glyph_worker.errors import GlyphError, TransientError, WorkerDraining
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.protocol import FeatureBatch
from glyph_worker.job import Answer, FinishReason, Progress, Receipt, Stage
from glyph_worker.model.load import Reader, load_reader
from glyph_worker.queue.names import ANSWER_TASK
from glyph_worker.settings import Settings
from glyph_worker.store.jobs import Order
from glyph_worker.worker.attempt import Cancelled, Fenced, attempt, settled
from glyph_worker.worker.pages import PageSource
from glyph_worker.worker.stores import Stores
from glyph_worker.worker.style import checkpoint_folder, resolve_style

log = structlog.get_logger(__name__)

HEARTBEAT_S = 0.5
"""How often progress is written, leases are renewed and cancels are seen."""

EXIT_GRACE_S = 2.0
"""After the engine's end, time for its jobs to be handed back."""
EX_SOFTWARE = 70


class _Running:
    """One job in this process: what the heartbeat writes, and why its sequence was stopped."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.order: Order | None = None
        self.stage = Stage.ENCODING
        self.progress: Progress | None = None
        self.stopped_by: type[GlyphError] | None = None


class AnswerStage:
    """One per process; `run` is called from one cheap thread per job in flight."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stores = Stores.open(settings)
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._dead = threading.Event()
        self._draining = False
        self._reader: Reader | None = None
        self._engine: Engine | None = None
        self._features: FeatureCache | None = None
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._count_tokens = lru_cache(maxsize=256)(self._document_tokens)

    # The pool's side (queue.pool.StageInProcess) --------------------------------------------------

    def start(self) -> None:
        """Load, warm up, then let jobs come. Raises ModelUnusable."""
        began = time.perf_counter()
        settings = self._settings
        self._reader = load_reader(
            checkpoint_folder(settings.model), device=settings.device, dtype=settings.dtype
        )
        self._features = FeatureCache(self._reader, settings.features, self._stores.cache)
        self._engine = Engine(self._reader, settings.engine, on_fatal=self._engine_died)
        self._features.start()
        self._engine.start()
        self._heart.start()
        log.info(
            "worker.ready",
            owner=self._stores.owner,
            model=self._reader.identity[:12],
            device=str(self._reader.device),
            load_ms=round((time.perf_counter() - began) * 1e3),
        )

    def stop(self) -> None:
        self._stopping.set()
        if self._engine is not None:
            self._engine.stop()
        if self._features is not None:
            self._features.stop()

    def cancel(self, job_id: str) -> bool:
        return self._interrupt(job_id, Cancelled)

    def healthy(self) -> bool:
        """False once the engine has ended itself: the lease on its jobs must end with it."""
        return not self._dead.is_set()

    def _engine_died(self, exc: BaseException) -> None:
        """The engine's threads cannot be trusted any more: end the process, lease and all."""
        log.error("worker.dying", error=type(exc).__name__)
        self._dead.set()
        threading.Timer(EXIT_GRACE_S, os._exit, args=(EX_SOFTWARE,)).start()

    def hand_back(self) -> None:
        """Stop every sequence; their jobs go back to the queue for another worker."""
        self._draining = True
        for job_id in list(self._running):
            self._interrupt(job_id, WorkerDraining)

    @property
    def num_running(self) -> int:
        return len(self._running)

    def _interrupt(self, job_id: str, reason: type[GlyphError]) -> bool:
        running = self._running.get(job_id)
        if running is None:
            return False
        running.stopped_by = running.stopped_by or reason
        assert self._engine is not None
        return self._engine.cancel(job_id)

    # One job --------------------------------------------------------------------------------------

    def run(self, task: Any, job_id: str) -> None:
        """The body of the Celery task. Ends the job, or as `attempt` says."""
        with self._lock:
            other = self._running.get(job_id)
            if other is None:
                running = self._running[job_id] = _Running()
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
                work=lambda order: self._work(order, running),
            )
        finally:
            with self._lock:
                del self._running[job_id]
            running.done.set()

    def _work(self, order: Order, running: _Running) -> None:
        assert self._engine is not None
        assert self._reader is not None
        if self._draining:
            raise WorkerDraining("this worker is stopping")
        running.order = order
        source = PageSource(self._settings, self._stores, order)
        pages = source.pages()
        running.progress = Progress(num_pages=len(pages))
        batches: list[FeatureBatch] = []

        def fetch(indexes: Sequence[int]) -> Sequence[Any]:
            """Features of the pages whose KV is not resident. In this job's own thread."""
            assert self._features is not None
            batch = self._features.get([source.request(pages[index]) for index in indexes])
            batches.append(batch)
            return batch.features

        def on_progress(seen: Any) -> None:
            """On the engine's thread: only remembers; the heartbeat writes."""
            running.stage = Stage(seen.stage)
            running.progress = Progress(
                num_pages=len(pages),
                num_pages_ready=len(pages),
                num_prompt_tokens=seen.num_prompt,
                num_prefilled_tokens=seen.num_prefilled,
                num_answer_tokens=seen.num_answer_tokens,
            )

        options = order.options
        request = AnswerRequest(
            sequence_id=order.job_id,
            pages=tuple(self._page_input(page) for page in pages),
            question=order.question,
            max_new_tokens=min(options.max_new_tokens, self._settings.limits.max_new_tokens),
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            seed=options.seed,
            stop=options.stop,
        )
        outcome = self._engine.answer(request, fetch=fetch, on_progress=on_progress)
        if outcome.finish_reason == "cancelled":
            raise (running.stopped_by or Cancelled)("stopped")
        answer = Answer(
            text=outcome.text,
            finish_reason=FinishReason(outcome.finish_reason),
            receipt=self._receipt(order, source, pages, batches, outcome),
        )
        # The commit comes before the ack: a crash between the two repeats work but loses nothing.
        done = Progress(
            num_pages=len(pages),
            num_pages_ready=len(pages),
            num_prompt_tokens=outcome.num_prompt_tokens,
            num_prefilled_tokens=outcome.num_prompt_tokens,
            num_answer_tokens=outcome.num_answer_tokens,
        )
        if not settled(lambda: self._stores.jobs.succeed(order, answer, done)):
            raise Fenced("a later attempt holds the job, or it is final")
        log.info(
            "job.succeeded",
            job_id=order.job_id,
            attempt=order.attempt,
            num_pages=len(pages),
            num_encoded=answer.receipt.pages_encoded,
            num_answer_tokens=outcome.num_answer_tokens,
            total_ms=round(answer.receipt.total_ms),
        )

    def _page_input(self, page: Page) -> PageInput:
        assert self._features is not None
        return PageInput(
            digest=self._features.recipe.feature_digest(page.digest),
            width=page.width,
            height=page.height,
        )

    def _receipt(
        self,
        order: Order,
        source: PageSource,
        pages: list[Page],
        batches: list[FeatureBatch],
        outcome: Outcome,
    ) -> Receipt:
        assert self._reader is not None
        num_encoded = sum(batch.num_encoded for batch in batches)
        visual = outcome.num_visual_tokens
        text_tokens = self._count_tokens(order.document_digest)
        return Receipt(
            pages_rendered=int(order.notes.get("pages_rendered", 0)) + source.num_drawn,
            pages_encoded=num_encoded,
            pages_reused=len(pages) - num_encoded,
            visual_tokens=visual,
            document_tokens=text_tokens,
            text_tokens_saved=max(0, text_tokens - visual),
            compression_ratio=round(text_tokens / max(1, visual), 3),
            prompt_tokens=outcome.num_prompt_tokens,
            prefix_tokens_reused=outcome.num_prefix_tokens_reused,
            answer_tokens=outcome.num_answer_tokens,
            queue_ms=round(order.notes.get("queue_ms", 0.0) + outcome.queue_ms, 2),
            render_ms=round(order.notes.get("render_ms", 0.0) + source.draw_ms, 2),
            encode_ms=round(sum(batch.wait_ms for batch in batches), 2),
            prefill_ms=round(outcome.prefill_ms, 2),
            decode_ms=round(outcome.decode_ms, 2),
            total_ms=round((time.time() - order.created_at) * 1e3, 2),
            device=str(self._reader.device),
            dtype=outcome.dtype,
            fallback=outcome.fallback or "",
            style=resolve_style(self._settings, order.options.style).name,
            model=self._reader.identity[:12],
        )

    def _document_tokens(self, document_digest: str) -> int:
        assert self._reader is not None
        return self._reader.prompt.num_text_tokens(self._stores.blobs.get(document_digest).text)

    # Heartbeat ------------------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_S):
            for job_id, running in list(self._running.items()):
                if running.order is None:
                    continue
                try:
                    go_on = self._stores.jobs.update(
                        running.order, stage=running.stage, progress=running.progress
                    )
                except TransientError as exc:
                    log.warning("heartbeat.missed", error=exc.code)
                    break
                if go_on is None and not running.done.is_set():
                    self._interrupt(job_id, Fenced)
                elif go_on is False:
                    self._interrupt(job_id, Cancelled)


def register(app: Celery, settings: Settings) -> AnswerStage:
    """Give the app the answer task and the stage that its pool starts."""
    stage = AnswerStage(settings)
    app.glyph_stage = stage

    @app.task(name=ANSWER_TASK, bind=True, max_retries=None)  # type: ignore[untyped-decorator]
    def answer(task: Any, job_id: str) -> None:
        stage.run(task, job_id)

    return stage
