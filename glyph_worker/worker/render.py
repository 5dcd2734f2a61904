"""The render stage: document → pages → page images, then the same id onto the answer queue.

Of a document beyond the window it asks the parts, as jobs of their own, and makes one answer of
theirs (`long_job`).
"""

from __future__ import annotations

import time
from functools import cached_property
from itertools import islice
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Ignore

from glyph_worker.document import Document, Page
from glyph_worker.errors import DocumentTooLarge, TransientError
from glyph_worker.evidence.original import Original
from glyph_worker.evidence.sources import longest_told
from glyph_worker.features.digest import page_image_digest
from glyph_worker.features.known_pages import KnownPages
from glyph_worker.job import Progress, Stage
from glyph_worker.queue.names import RENDER_TASK
from glyph_worker.render.choose import resolve_style, shape_of, style_of
from glyph_worker.render.out.raster import draw
from glyph_worker.render.out.wire import pack_page
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.paginate import paginate
from glyph_worker.render.pictured import lay_out
from glyph_worker.render.style.style import Style
from glyph_worker.segments.ranking import Rankings
from glyph_worker.settings import Settings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.layouts import StoredLayout
from glyph_worker.store.open import Stores
from glyph_worker.traces import Traces
from glyph_worker.worker.answer_stream import AnswerStream
from glyph_worker.worker.attempt import Cancelled, Fenced, attempt, retry_until_stored
from glyph_worker.worker.long_asks import LongText
from glyph_worker.worker.long_job import LongJob
from glyph_worker.worker.page_source import salt_of
from glyph_worker.worker.parts import Parked, Parts
from glyph_worker.worker.reach import ReachFinder

log = structlog.get_logger(__name__)

PAGES_PER_BATCH = 32
"""Pages laid out, looked up, drawn and stored together; bounds memory and a cancel's delay."""


class RenderStage:
    """Lives in each child of the prefork pool; opens its stores after the fork, on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: Stores | None = None
        self._rankings = Rankings()
        self._traces = Traces(settings.trace_endpoint, service="glyph-render")

    @property
    def _stores(self) -> Stores:
        if self._opened is None:
            self._opened = Stores.open(self._settings)
        return self._opened

    def warm_up(self) -> None:
        """Load fonts and compile what is compiled, so that no job pays for it."""
        style = resolve_style(self._settings, "auto")
        for laid in paginate("Warm-up: 0123456789, the quick brown fox.", style):
            pack_page(draw(laid))

    def close(self) -> None:
        """Before a child's end."""
        self._traces.close()

    def run(self, task: Any, job_id: str) -> None:
        """The body of the Celery task. Ends in a handover, or as `attempt` says."""
        claimed = attempt(
            task,
            self._stores.jobs,
            job_id,
            owner=self._stores.owner,
            stage=Stage.RENDERING,
            settings=self._settings.queue,
            traces=self._traces,
            work=self._work,
        )
        if claimed is not None:
            # Not a success yet: the same id goes on elsewhere, also before Flower's eyes.
            raise Ignore("handed over to the answer stage, or to its parts")

    @cached_property
    def _reach(self) -> ReachFinder:
        return ReachFinder(self._settings, self._stores.workers)

    def _work(self, claimed: ClaimedJob) -> ClaimedJob | None:
        """The job where it goes on elsewhere; None where it has ended here."""
        started = time.perf_counter()
        options = claimed.options
        steps = self._steps() if options.min_quality else 0
        style = style_of(self._settings, options, steps=steps)
        salt = salt_of(self._settings, claimed.tenant)
        reach = self._reach.reach()
        told = longest_told(claimed.document_names) if reach.weighs_evidence else ""
        asked = told + claimed.question
        whole = bool(claimed.parent) or options.overflow == "refuse"
        layout, num_drawn = self._layout(claimed, style, salt), 0
        at_once = True
        if layout is None:
            document = self._stores.blobs.get(claimed.document_digest)
            laid = lay_out(document, style, shape_of(self._settings))
            pages: list[Page] = []
            costs: list[int] = []
            while batch := list(islice(laid, PAGES_PER_BATCH)):
                pages += [one.page for one in batch]
                costs += reach.page_costs(one.page for one in batch)
                if whole:
                    self._check_limit(len(pages))
                else:
                    at_once = at_once and reach.reads_whole(costs, asked, options)
                self._check_right(claimed, len(pages))
                if at_once:
                    num_drawn += self._draw(batch, salt)
            layout = StoredLayout(
                pages=tuple(pages), num_missing_glyphs=laid.report.num_missing_glyphs
            )
            try:
                self._stores.layouts.put(claimed.document_digest, style.digest, layout, salt=salt)
            except TransientError as exc:
                log.warning("cache.skipped", what="layout", error=exc.code)
        elif whole:
            self._check_limit(len(layout.pages))
        else:
            at_once = reach.reads_whole(reach.page_costs(layout.pages), asked, options)
        if not at_once:
            document = self._stores.blobs.get(claimed.document_digest)
            beyond = not reach.fits(reach.page_costs(layout.pages), asked, options)
            if not _must_be_whole(document, layout, beyond=beyond):
                return self._read_long(claimed, document, layout, style, salt)
        notes = {
            "render_ms": (time.perf_counter() - started) * 1e3,
            "pages_rendered": num_drawn,
            "missing_glyphs": layout.num_missing_glyphs,
        }
        if options.min_quality:
            notes["style_steps"] = steps
        num_pages = len(layout.pages)
        if not retry_until_stored(
            lambda: self._stores.jobs.hand_over(claimed, num_pages=num_pages, notes=notes)
        ):
            raise Fenced("a later attempt holds the job")
        self._traces.note(num_pages=num_pages, num_drawn=num_drawn, style=style.name)
        log.info(
            "job.rendered",
            job_id=claimed.job_id,
            num_pages=num_pages,
            num_drawn=num_drawn,
            render_ms=round(notes["render_ms"], 1),
        )
        return claimed

    def _steps(self) -> int:
        try:
            return self._stores.ladder.steps()
        except TransientError:
            return 0  # the job's own style is never wrong

    def _layout(self, claimed: ClaimedJob, style: Style, salt: str) -> StoredLayout | None:
        """Where another of the tenant's jobs of the last hour has laid out and drawn the pages."""
        try:
            layout = self._stores.layouts.get(claimed.document_digest, style.digest, salt=salt)
        except TransientError as exc:
            log.warning("cache.skipped", what="layout", error=exc.code)
            return None
        return layout

    def _read_long(
        self,
        claimed: ClaimedJob,
        document: Document,
        layout: StoredLayout,
        style: Style,
        salt: str,
    ) -> ClaimedJob | None:
        """A document in parts, up to the next wait for them, or to its end."""
        stores, reach = self._stores, self._reach.reach()
        text = LongText(
            given=Original(document.text),
            pages=layout.pages,
            costs=tuple(reach.page_costs(layout.pages)),
        )
        parts = Parts(
            stores, claimed, salt=salt, style_digest=style.digest, identity=reach.identity
        )
        try:
            answer = LongJob(
                claimed, text, parts, style=style, reach=reach, rankings=self._rankings
            ).answer()
        except Parked:
            return claimed
        stream = AnswerStream(stores.streams, claimed.job_id, claimed.attempt, claimed.owner)

        def commit() -> bool:
            stream.finish(answer.text)
            return stores.jobs.succeed(claimed, answer)

        if not retry_until_stored(commit):
            raise Fenced("a later attempt holds the job, or it is final")
        log.info(
            "job.succeeded",
            job_id=claimed.job_id,
            attempt=claimed.attempt,
            num_segments=len(answer.receipt.segments),
            total_ms=round(answer.receipt.total_ms),
        )
        return None

    def _check_limit(self, num_pages: int) -> None:
        limit = self._settings.limits.max_pages
        if num_pages > limit:
            raise DocumentTooLarge(
                f"document needs more than {limit} pages; choose a denser style, split it, "
                "or raise GLYPH_MAX_PAGES on the render workers",
                max_pages=limit,
            )

    def _check_right(self, claimed: ClaimedJob, num_pages: int) -> None:
        """Between batches: renew the lease, and ask whether the producer wants it still."""
        go_on = self._stores.jobs.update(claimed, progress=Progress(num_pages=num_pages))
        if go_on is None:
            raise Fenced("a later attempt holds the job")
        if not go_on:
            raise Cancelled("the producer took the job back")

    def _draw(self, batch: list[LaidPage], salt: str) -> int:
        """Draw and store the pages whose features nobody has. Returns how many."""
        stores = self._stores
        try:
            known = KnownPages(stores.cache).known([laid.page.digest for laid in batch], salt=salt)
            wanted = [laid for laid, have in zip(batch, known, strict=True) if not have]
            for laid in wanted:
                name = page_image_digest(laid.page.digest, salt)
                stores.page_images.put(name, pack_page(draw(laid)))
        except TransientError as exc:
            # The answer worker draws what it does not find.
            log.warning("cache.skipped", what="page", error=exc.code)
            return 0
        return len(wanted)


def _must_be_whole(document: Document, layout: StoredLayout, *, beyond: bool) -> bool:
    """Whether it has pages that no part would have: parts are cut from text. Raises
    DocumentTooLarge for such a one that is `beyond` the window."""
    unread = sum(bool(one.picture) and one.start == one.end for one in document.sheets)
    if unread and beyond:
        raise DocumentTooLarge(
            f"the document's {len(layout.pages)} pages are more than the model reads at once, "
            f"and {unread} of them are pictures without text; send fewer, or have their text "
            "read (glyph_worker[ocr] at the gateway and the command line)",
            num_pages=len(layout.pages),
        )
    return unread > 0


def register(app: Celery, settings: Settings) -> RenderStage:
    """Give the app the render task."""
    stage = RenderStage(settings)

    @app.task(name=RENDER_TASK, bind=True, max_retries=None)  # type: ignore[untyped-decorator]
    def render(task: Any, *_: str) -> None:
        stage.run(task, task.request.id)

    return stage
