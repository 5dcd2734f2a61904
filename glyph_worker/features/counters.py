"""What happened, counted: events, where pages came from, pages through the tower. Nothing else."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from glyph_worker.features.types import Source
from glyph_worker.store.breaker import Observer

log = logging.getLogger(__name__)

_LEVELS = {
    "audit_mismatch": logging.ERROR,
    "encode_failed": logging.ERROR,
    "damaged": logging.WARNING,
    "follow_gave_up": logging.WARNING,
    "store_failed": logging.WARNING,
    "store_full": logging.WARNING,
}
EVENTS = {
    "audit": "a page fetched from the server is computed again, to compare",
    "audit_mismatch": "it differed: its digest is quarantined, the fresh features are used",
    "bypassed": "the server was not asked: it costs more than it saves",
    "damaged": "a fetched value failed a check and was dropped; the page is encoded",
    "encode_failed": "a page could not be encoded; its jobs fail, its batch-mates do not",
    "fetched_late": "a fetch came in after its page had been encoded",
    "follow_gave_up": "another worker held a claim longer than patience; encoded here as well",
    "hurried": "the server was slower than an encode; encoded here",
    "published": "fresh features are on the server",
    "publish_fenced": "another worker had taken the claim over; nothing was written",
    "publish_lost": "the server evicted a value before it was committed",
    "publish_quarantined": "the digest is in quarantine; nothing was written",
    "publish_skipped": "not published, and its claim given up; `why` says why",
    "store_back": "the server answers again",
    "store_down": "the server still does not answer",
    "store_failed": "a call failed; after two in a row the server is left alone for a while",
    "store_full": "the server took no write for lack of memory",
    "vanished": "features were stored, and gone when fetched",
}
"""Every event the observer may be told of."""


def log_event(event: str, fields: Mapping[str, Any]) -> None:
    """The default observer."""
    level = _LEVELS.get(event, logging.DEBUG)
    if log.isEnabledFor(level):
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        log.log(level, "features.%s %s", event, text)


class Ledger:
    """Thread-safe; its lock is never held while another is taken."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._lock = threading.Lock()
        self._events: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._num_tower_pages = 0

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        assert event in EVENTS, event
        with self._lock:
            self._events[event] += 1
        self._observer(event, fields)

    def handed_out(self, sources: Iterable[Source]) -> None:
        with self._lock:
            self._sources.update(source.value for source in sources)

    def went_through_tower(self, num_pages: int) -> None:
        with self._lock:
            self._num_tower_pages += num_pages

    def snapshot(self) -> tuple[dict[str, int], dict[str, int], int]:
        """Events, sources, tower pages."""
        with self._lock:
            return dict(self._events), dict(self._sources), self._num_tower_pages
