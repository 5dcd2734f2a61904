"""Do all workers that live mean the same style by `auto`? If not, every page is drawn twice."""

from __future__ import annotations

import structlog

from glyph_worker.store.workers import WorkerStore, by_style, describe_styles

log = structlog.get_logger(__name__)

PERIOD_S = 30.0

FIX = "give every worker and gateway the same GLYPH_MODEL, GLYPH_RENDER_STYLE and checkpoint folder"


class StyleCheck:
    """Looks when a worker starts and then now and again; a difference is logged when it is new.

    The worker serves all the same: while a deployment that changes the style rolls out, old and new
    workers live side by side, and no job is answered wrongly for it.
    """

    def __init__(self, workers: WorkerStore) -> None:
        self._workers = workers
        self._due_at = 0.0
        self._reported: frozenset[str] = frozenset()

    def poll(self, now: float) -> None:
        """`now` is monotonic. Raises StoreUnavailable."""
        if now < self._due_at:
            return
        styles = by_style(self._workers.living())
        self._due_at = now + PERIOD_S
        digests = frozenset(styles)
        if len(digests) > 1 and digests != self._reported:
            log.error("worker.styles_differ", styles=describe_styles(styles), fix=FIX)
        self._reported = digests
