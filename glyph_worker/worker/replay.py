"""Does one stored job again, here, for debugging: its pages, its style, its batch-mates."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from glyph_worker.errors import GlyphError
from glyph_worker.job import Answer
from glyph_worker.render.choose import shape_of
from glyph_worker.render.out.preview import render_file
from glyph_worker.settings import Settings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.open import Stores
from glyph_worker.worker.answer_run import AnswerRun
from glyph_worker.worker.inference import Inference
from glyph_worker.worker.page_source import PageSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    answer: Answer | GlyphError
    stored: Answer | None
    """What the job answered when it ran."""
    batch_mates: list[str]
    """Jobs that were inside beside it and are done again beside it."""
    pages: Path


def replay(settings: Settings, job_id: str, out_dir: Path) -> Replayed:
    """Draw the job's pages to PNGs and answer it again in this process, without touching it.

    Raises UnknownJob, JobExpired (its document is no longer kept), ModelUnusable.
    """
    stores = Stores.open(settings)
    record = stores.jobs.record(job_id)
    names = record.get(b"mates", b"").decode().split()
    batch_mates = [
        claimed for name in names if (claimed := _claimed(stores.jobs, name)) is not None
    ]
    claimed = stores.jobs.peek(job_id)
    source = PageSource(settings, stores, claimed)
    document = stores.blobs.get(claimed.document_digest)
    render_file(document, source.style, shape_of(settings), out_dir)
    parts = Inference.start(settings, None, None, on_fatal=_raise)
    try:
        outcome = _together(settings, stores, parts, [claimed, *batch_mates])
    finally:
        parts.stop()
    return Replayed(
        answer=outcome,
        stored=stores.jobs.answer(job_id),
        batch_mates=[mate.job_id for mate in batch_mates],
        pages=out_dir,
    )


def _claimed(jobs: JobStore, job_id: str) -> ClaimedJob | None:
    try:
        return jobs.peek(job_id)
    except GlyphError:
        return None  # it has expired since


def _together(
    settings: Settings, stores: Stores, parts: Inference, claimed_jobs: list[ClaimedJob]
) -> Answer | GlyphError:
    outcomes: dict[str, Answer | GlyphError] = {}

    def one(claimed: ClaimedJob) -> None:
        try:
            source = PageSource(settings, stores, claimed)
            outcomes[claimed.job_id] = AnswerRun(claimed.job_id).answer(
                claimed, parts, settings, source
            )
        except GlyphError as exc:
            outcomes[claimed.job_id] = exc

    threads = [threading.Thread(target=one, args=(claimed,)) for claimed in claimed_jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes[claimed_jobs[0].job_id]


def _raise(exc: BaseException) -> None:
    raise exc
