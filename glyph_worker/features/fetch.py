"""Features from the cache server to the device: one thread, pages of many jobs in one transfer.

Everything that arrives is checked; what is damaged is dropped there and computed again here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from glyph_worker.features import wire
from glyph_worker.features.break_even import LEAST_SAMPLES, BreakEven
from glyph_worker.features.inflight import PageInFlight, State
from glyph_worker.features.transfer import Transfer
from glyph_worker.features.types import FeatureStore
from glyph_worker.store.breaker import CircuitBreaker, Observer

log = logging.getLogger(__name__)

MAX_TRANSFER_BYTES = 32 << 20
PROBE_TOKENS = 256
MAX_PROBE_BYTES = 1 << 19


@dataclass(frozen=True, slots=True)
class Fetched:
    flight: PageInFlight
    features: torch.Tensor | None
    """`[num_tokens, hidden]` on the encoder's device; None when missing or damaged."""
    host: torch.Tensor | None
    share_ms: float


class Fetcher:
    def __init__(
        self,
        guard: CircuitBreaker[FeatureStore],
        policy: BreakEven,
        *,
        owner: str,
        device: torch.device,
        dtype: torch.dtype,
        token_width: int,
        num_tensors: int,
        on_fetched: Callable[[list[Fetched]], None],
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._policy = policy
        self._owner = owner
        self._transfer = Transfer(device)
        self._dtype = dtype
        self._token_width = token_width
        self._num_tensors = num_tensors
        self._on_fetched = on_fetched
        self._observer = observer
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[PageInFlight] = deque()
        self._queued_tokens = 0
        self._probe_due = False
        self.calibrated = threading.Event()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="glyph-fetch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        with self._changed:
            self._running = False
            self._queue.clear()
            self._changed.notify()
        self._thread.join(timeout_s)

    def submit(self, flights: Sequence[PageInFlight]) -> None:
        """Queue flights in state FETCHING; called under the board's lock."""
        now = self._clock()
        with self._changed:
            for flight in flights:
                flight.fetches += 1
                self._queued_tokens += flight.num_tokens
                flight.hurry_at = now + self._policy.patience_s(self._queued_tokens)
            self._queue.extend(flights)
            self._changed.notify()

    def probe(self) -> None:
        """Measure the link in the background, now."""
        with self._changed:
            self._probe_due = True
            self._changed.notify()

    def _run(self) -> None:
        # Before the first job comes the policy knows what it would decide.
        for _ in range(LEAST_SAMPLES):
            if self._running:
                self._measure()
        self.calibrated.set()
        while True:
            with self._changed:
                while self._running and not self._queue and not self._probe_due:
                    self._changed.wait()
                if not self._running:
                    return
                probe_due, self._probe_due = self._probe_due, False
                batch = self._take()
            try:
                if batch:
                    self._fetch(batch)
                if probe_due:
                    self._measure()
            except Exception:
                log.exception("fetch thread")
                self._on_fetched([Fetched(flight, None, None, 0.0) for flight in batch])

    def _take(self) -> list[PageInFlight]:
        batch: list[PageInFlight] = []
        num_bytes = 0
        while self._queue and num_bytes < MAX_TRANSFER_BYTES:
            flight = self._queue.popleft()
            self._queued_tokens -= flight.num_tokens
            if flight.state is State.FETCHING:  # else its owner lost patience
                batch.append(flight)
                num_bytes += flight.num_tokens * self._token_width * self._dtype.itemsize
        return batch

    def _fetch(self, batch: list[PageInFlight]) -> None:
        started = time.perf_counter()
        digests = [flight.digest for flight in batch]
        values: list[Any] | None = self._guard.call("fetch", lambda store: store.fetch(digests))
        host = [
            None if value is None else self._checked(flight, value)
            for flight, value in zip(batch, values or [None] * len(batch), strict=True)
        ]
        arrived = iter(self._transfer.upload([one for one in host if one is not None]))
        on_device = [None if one is None else next(arrived) for one in host]
        elapsed_ms = (time.perf_counter() - started) * 1e3
        num_tokens = sum(one.shape[0] for one in host if one is not None)
        if num_tokens:
            num_pages = sum(one is not None for one in host)
            self._policy.fetched(num_tokens, num_pages, elapsed_ms)
        elif values is None:  # it took this long to fail
            num_tokens = sum(flight.num_tokens for flight in batch)
            self._policy.fetched(num_tokens, len(batch), elapsed_ms)
        share_ms = elapsed_ms / len(batch)
        self._on_fetched(
            [Fetched(*item, share_ms) for item in zip(batch, on_device, host, strict=True)]
        )

    def _checked(self, flight: PageInFlight, value: bytes) -> torch.Tensor | None:
        try:
            return wire.decode(
                flight.digest,
                value,
                shape=(flight.num_tokens, self._token_width),
                dtype=self._dtype,
                num_tensors=self._num_tensors,
            )
        except wire.Damaged as exc:
            fields = {"feature_digest": flight.digest, "check": exc.check, "error": str(exc)[:200]}
            self._observer("damaged", fields)
            self._guard.call("drop", lambda store: store.drop([flight.digest]))
            return None

    def _measure(self) -> None:
        """One transfer of our own, as many bytes as a page has or half a megabyte."""
        if not self._guard.up or self._queue:
            return
        token_bytes = self._token_width * self._dtype.itemsize
        num_bytes = min(PROBE_TOKENS * token_bytes, MAX_PROBE_BYTES)
        started = time.perf_counter()
        value = self._guard.call("probe", lambda store: store.get_probe(self._owner))
        if value is None and self._guard.up:
            probe = bytes(num_bytes)
            self._guard.call("probe", lambda store: store.put_probe(self._owner, probe))
            started = time.perf_counter()
            value = self._guard.call("probe", lambda store: store.get_probe(self._owner))
        took_s = time.perf_counter() - started
        if value is not None:
            self._policy.fetched(num_bytes / token_bytes, None, took_s * 1e3)
        self._policy.probed(self._clock(), took_s)
