"""What a vLLM server holds of our page features, and what it adds to them. Threads, no vLLM."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from glyph_worker import codec
from glyph_worker.features import wire
from glyph_worker.features.types import FeatureStats, FeatureStore, Source
from glyph_worker.store.breaker import CircuitBreaker

log = logging.getLogger(__name__)

MISSING_S = 2.0
"""A page that was missing is asked for again after this time."""
MAX_KNOWN = 100_000
FETCH_PAGES = 16
"""Of one round trip."""
MAX_QUEUED_BYTES = 256 << 20
REPORT_S = 1.0
STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class FeatureShape:
    dtype: torch.dtype
    hidden_size: int
    num_tensors: int

    @property
    def width(self) -> int:
        return self.hidden_size * self.num_tensors


@dataclass(slots=True)
class _Known:
    asked_at: float
    record: bytes | None = None
    answered_at: float | None = None


W = TypeVar("W")


class _Clerk(ABC, Generic[W]):
    """A thread that goes to the store while there is work, and tells it what was counted."""

    drains = False
    """Whether it ends its work before it stops."""

    def __init__(self, guard: CircuitBreaker[FeatureStore], *, owner: str, name: str) -> None:
        self._guard = guard
        self._changed = threading.Condition()
        self._work: deque[W] = deque()
        self._count = 0
        """Pages since it began, for the report."""
        self._running = True
        self._report = Report(guard, owner)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._running = False
            self._changed.notify_all()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._running and not self._work and not self._report.due(self._count):
                    self._changed.wait(self._report.pause_s(self._count))
                    if not self._guard.up:
                        break
                if not self._running and not (self.drains and self._work):
                    return
                some, count = self._take(), self._count
            try:
                self._guard.probe()
                if some:
                    self._do(some)
                if self._report.due(count):
                    self._tell(count)
            except Exception:
                log.exception("page features")
                self._missed(some)

    @abstractmethod
    def _take(self) -> list[W]:
        """Work for one trip, off the queue; called under the lock."""

    @abstractmethod
    def _do(self, some: list[W]) -> None:
        """One trip to the store."""

    @abstractmethod
    def _tell(self, count: int) -> None:
        """Report that so many pages went this way."""

    def _missed(self, some: list[W]) -> None:
        """It could not be done."""


class Shelf(_Clerk[tuple[str, int]]):
    """Records by digest: fetched by a thread, kept while there is room. Asking never waits."""

    def __init__(
        self,
        guard: CircuitBreaker[FeatureStore],
        shape: FeatureShape,
        *,
        owner: str,
        max_bytes: int,
        patience_s: float,
    ) -> None:
        """`patience_s`: how long a request may wait for the store before its page is encoded."""
        self._shape = shape
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._num_bytes = 0
        super().__init__(guard, owner=owner, name="glyph-shelf")

    def settled(self, wanted: Mapping[str, int]) -> bool:
        """Whether all of these pages, digest to visual tokens, are known to be here or not; those
        that are not known are asked for."""
        now, settled = time.monotonic(), True
        with self._changed:
            for digest, num_tokens in wanted.items():
                known = self._known.get(digest)
                stale = (
                    known is not None
                    and known.record is None
                    and known.answered_at is not None
                    and now - known.answered_at > MISSING_S
                )
                if known is None or stale:
                    if not self._guard.up:
                        continue
                    known = self._known[digest] = _Known(now)
                    self._work.append((digest, num_tokens))
                    self._changed.notify_all()
                if known.answered_at is None and now - known.asked_at < self._patience_s:
                    settled = False
        return settled

    def record(self, digest: str) -> bytes | None:
        """The record of a page that is here."""
        with self._changed:
            known = self._known.get(digest)
            if known is None or known.record is None:
                return None
            self._known.move_to_end(digest)
            return known.record

    def loaded(self, num_pages: int) -> None:
        """So many pages were taken from here in place of an encode."""
        with self._changed:
            self._count += num_pages
            self._changed.notify_all()

    def _take(self) -> list[tuple[str, int]]:
        return [self._work.popleft() for _ in range(min(FETCH_PAGES, len(self._work)))]

    def _tell(self, count: int) -> None:
        self._report.send(count, {Source.STORE: count}, 0)

    def _missed(self, some: list[tuple[str, int]]) -> None:
        self._answer(dict.fromkeys(digest for digest, _ in some))

    def _do(self, some: list[tuple[str, int]]) -> None:
        digests = [digest for digest, _ in some]
        raws = self._guard.call("fetch", lambda store: store.fetch(digests)) or [None] * len(some)
        found: dict[str, bytes | None] = {}
        for (digest, num_tokens), raw in zip(some, raws, strict=True):
            found[digest] = raw if raw is not None and self._fits(digest, raw, num_tokens) else None
        self._answer(found)

    def _fits(self, digest: str, raw: bytes, num_tokens: int) -> bool:
        """Everything is checked here, before a plan counts on it."""
        try:
            wire.decode(
                digest, raw, shape=(num_tokens, self._shape.width), dtype=self._shape.dtype,
                num_tensors=self._shape.num_tensors,
            )  # fmt: skip
        except wire.Damaged as exc:
            log.warning("page features %s are not used: %s", digest[:12], exc)
            return False
        return True

    def _answer(self, found: Mapping[str, bytes | None]) -> None:
        now = time.monotonic()
        with self._changed:
            for digest, record in found.items():
                known = self._known.get(digest)
                if known is None:
                    continue
                known.record, known.answered_at = record, now
                self._num_bytes += len(record or b"")
            while self._known and (
                self._num_bytes > self._max_bytes or len(self._known) > MAX_KNOWN
            ):
                _, dropped = self._known.popitem(last=False)
                self._num_bytes -= len(dropped.record or b"")


class Saver(_Clerk[tuple[str, torch.Tensor]]):
    """Fresh features to the store, in the background and in bounded memory."""

    drains = True

    def __init__(
        self,
        guard: CircuitBreaker[FeatureStore],
        shape: FeatureShape,
        *,
        owner: str,
        form: wire.Form,
        ttl_s: int,
    ) -> None:
        self._shape = shape
        self._form = form
        self._ttl_s = ttl_s
        self._num_bytes = 0
        super().__init__(guard, owner=owner, name="glyph-saver")

    def encoded(self, digest: str, features: torch.Tensor) -> None:
        """vLLM's tower made these, [num_visual_tokens, width]."""
        fits = features.ndim == 2 and features.shape[1] == self._shape.width
        with self._changed:
            self._count += 1
            room = self._num_bytes + features.nbytes <= MAX_QUEUED_BYTES
            if fits and room and self._guard.up:
                host = features.detach().to("cpu", self._shape.dtype, copy=True)
                self._work.append((digest, host))
                self._num_bytes += host.nbytes
            self._changed.notify_all()

    def _take(self) -> list[tuple[str, torch.Tensor]]:
        if not self._work:
            return []
        entry = self._work.popleft()
        self._num_bytes -= entry[1].nbytes
        return [entry]

    def _tell(self, count: int) -> None:
        self._report.send(count, {Source.ENCODED: count}, count)

    def _do(self, some: list[tuple[str, torch.Tensor]]) -> None:
        [(digest, host)] = some
        if not bool(torch.isfinite(host).all()) or self._guard.full:
            return
        parts = wire.encode(digest, host, self._form, num_tensors=self._shape.num_tensors)
        self._guard.call(
            "publish", lambda store: store.publish(digest, parts, token="", ttl_s=self._ttl_s)
        )


class Report:
    """Counters for `glyph-worker cache stats`, at most once a second."""

    def __init__(self, guard: CircuitBreaker[FeatureStore], owner: str) -> None:
        self._guard = guard
        self._owner = owner
        self._sent = 0
        self._sent_at = 0.0

    def due(self, count: int) -> bool:
        return count != self._sent and time.monotonic() - self._sent_at >= REPORT_S

    def pause_s(self, count: int) -> float | None:
        """How long a thread with nothing to do may sleep: a server that is out is tried again."""
        return REPORT_S if count != self._sent or not self._guard.up else None

    def send(self, count: int, sources: Mapping[str, int], num_tower_pages: int) -> None:
        self._sent, self._sent_at = count, time.monotonic()
        stats = FeatureStats(
            sources=dict(sources), num_tower_pages=num_tower_pages, store_up=self._guard.up
        )
        fields = {name: getattr(stats, name) for name in FeatureStats.__dataclass_fields__}
        raw = codec.pack("feature_stats", fields)
        self._guard.call("report", lambda store: store.report(self._owner, raw))
