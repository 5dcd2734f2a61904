"""Does one stored job again, here, for debugging: its pages, its style, its batch-mates."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from glyph_worker.errors import GlyphError
from glyph_worker.job import Answer
from glyph_worker.render.preview import render_file
from glyph_worker.settings import Settings
from glyph_worker.store.jobs import JobStore, Order
from glyph_worker.worker.pages import PageSource
from glyph_worker.worker.parts import Parts
from glyph_worker.worker.run import Run
from glyph_worker.worker.stores import Stores


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    answer: Answer | GlyphError
    stored: Answer | None
    """What the job answered when it ran."""
    mates: list[str]
    """Jobs that were inside beside it and are done again beside it."""
    pages: Path


def replay(settings: Settings, job_id: str, out_dir: Path) -> Replayed:
    """Draw the job's pages to PNGs and answer it again in this process, without touching it.

    Raises UnknownJob, JobExpired (its document is no longer kept), ModelUnusable.
    """
    stores = Stores.open(settings)
    record = stores.jobs.record(job_id)
    names = record.get(b"mates", b"").decode().split()
    mates = [order for name in names if (order := _order(stores.jobs, name)) is not None]
    order = stores.jobs.peek(job_id)
    source = PageSource(settings, stores, order)
    document = stores.blobs.get(order.document_digest)
    render_file(document.text, source.style, out_dir, show_map=False)
    parts = Parts.start(settings, None, None, on_fatal=_raise)
    try:
        outcome = _together(settings, stores, parts, [order, *mates])
    finally:
        parts.stop()
    return Replayed(
        answer=outcome,
        stored=stores.jobs.answer(job_id),
        mates=[mate.job_id for mate in mates],
        pages=out_dir,
    )


def _order(jobs: JobStore, job_id: str) -> Order | None:
    try:
        return jobs.peek(job_id)
    except GlyphError:
        return None  # it has expired since


def _together(
    settings: Settings, stores: Stores, parts: Parts, orders: list[Order]
) -> Answer | GlyphError:
    outcomes: dict[str, Answer | GlyphError] = {}

    def one(order: Order) -> None:
        try:
            source = PageSource(settings, stores, order)
            outcomes[order.job_id] = Run(order.job_id).answer(order, parts, settings, source)
        except GlyphError as exc:
            outcomes[order.job_id] = exc

    threads = [threading.Thread(target=one, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes[orders[0].job_id]


def _raise(exc: BaseException) -> None:
    raise exc
