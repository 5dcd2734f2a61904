"""Page features by digest: memory first, then the cache server, else the tower. Threads meet here.

`get` may be called by many threads. Per process one thread each encodes, fetches, publishes and
talks to the cluster; the caller's own thread makes pixels. Whatever the cache server does, a
job gets right features: late at worst, and then for no longer than an encode takes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence

import torch

from glyph_worker import codec
from glyph_worker.errors import EngineFault, WorkerDraining
from glyph_worker.features.arrivals import Arrivals, Tier
from glyph_worker.features.break_even import BreakEven
from glyph_worker.features.claims import Cluster
from glyph_worker.features.counters import Ledger, log_event
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.features.encode import PageBatcher
from glyph_worker.features.feature_call import Pending
from glyph_worker.features.fetch import Fetcher
from glyph_worker.features.inflight import InFlightPages, PageInFlight, State, Waiter
from glyph_worker.features.publish import Publisher
from glyph_worker.features.transfer import Transfer
from glyph_worker.features.types import (
    FeatureBatch,
    FeatureStats,
    FeatureStore,
    PageEncoder,
    PageRequest,
    Source,
    token_width,
)
from glyph_worker.model.memory_plan import PUBLISH_QUEUE_BYTES
from glyph_worker.setting_sections import FeatureSettings
from glyph_worker.store.breaker import CircuitBreaker, Observer

CHECK_S = 0.25
WINDOW_BATCHES = 4
"""Micro-batches of pages one worker may claim ahead."""
STOP_S = 5.0

Progress = Callable[[int, int], None]
"""Told (pages ready, pages asked), at least every 0.25 s; what it raises ends the `get`."""
Landed = Callable[[Sequence[torch.Tensor]], None]
"""Given the features of the next pages, in order, as soon as they are there."""


class FeatureCache:
    def __init__(
        self,
        encoder: PageEncoder,
        settings: FeatureSettings,
        store: FeatureStore | None = None,
        *,
        observer: Observer = log_event,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        """Nothing runs before `start`. `seed` fixes which hits are audited."""
        self._encoder = encoder
        self.owner = os.urandom(8).hex()
        self.recipe = FeatureRecipe.of(encoder, packing=settings.packing)
        device = encoder.device
        draw = random.Random(seed).random
        self._ledger = Ledger(observer)
        tell = self._ledger.tell
        self._device = Tier(settings.device_bytes)
        self._host = Tier(0 if device.type == "cpu" else settings.host_bytes)
        self._running = False
        self._board = InFlightPages(release=self._give_up, observer=tell, clock=clock)
        self._guard = CircuitBreaker(store if settings.store else None, tell, clock)
        self._policy = BreakEven(measured=settings.break_even, max_wait_s=settings.timeout_s)
        self._landing = Arrivals(
            self._board,
            self._device,
            self._host,
            self._guard,
            self._policy,
            self._ledger,
            lossy=settings.packing == "int8",
            num_tensors=encoder.num_feature_tensors,
            quarantine_s=settings.quarantine_s,
        )
        self._batcher = PageBatcher(
            encoder,
            max_pages=settings.micro_batch,
            on_warm=lambda num_tokens, ms: self._policy.encoded(num_tokens, None, ms),
            on_encoded=self._landing.encoded,
            on_failed=self._landing.failed,
        )
        self._fetcher = Fetcher(
            self._guard,
            self._policy,
            owner=self.owner,
            device=device,
            dtype=encoder.dtype,
            token_width=token_width(encoder),
            num_tensors=encoder.num_feature_tensors,
            on_fetched=self._landing.fetched,
            observer=tell,
            clock=clock,
        )
        self._cluster = Cluster(
            self._board,
            self._guard,
            self._policy,
            self._fetcher,
            owner=self.owner,
            lease_s=settings.claim_lease_s,
            window=WINDOW_BATCHES * settings.micro_batch,
            patience_s=settings.claim_patience_s,
            claims=settings.single_flight,
            audit=lambda: draw() < settings.audit_share,
            report=self._report,
            recipe=self._announcement,
            observer=tell,
        )
        self._publisher = Publisher(
            self._guard,
            self._policy,
            form=settings.packing,
            num_tensors=encoder.num_feature_tensors,
            ttl_s=settings.ttl_s,
            max_queued_bytes=PUBLISH_QUEUE_BYTES,
            device=device,
            release=self._cluster.release,
            settled=self._cluster.settled,
            keep=self._landing.keep,
            observer=tell,
        )
        self._landing.cluster = self._cluster
        self._landing.publish = self._publisher.submit

    def start(self) -> None:
        """Start the threads; after any fork."""
        self._running = True
        for part in (self._batcher, self._publisher, self._fetcher, self._cluster):
            part.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until tower and link are warm and measured; jobs need not. False when it took
        too long."""
        deadline = time.monotonic() + timeout_s
        parts = (self._batcher, self._fetcher, self._cluster)
        return all(part.calibrated.wait(max(0.0, deadline - time.monotonic())) for part in parts)

    def stop(self) -> None:
        """End waiting jobs with WorkerDraining, publish what is fresh, give up all claims."""
        with self._board.lock:
            self._running = False
            self._board.fail_all(WorkerDraining("this worker stops; another will take the job"))
        self._batcher.stop(STOP_S)
        self._publisher.stop(STOP_S)
        self._fetcher.stop(STOP_S)
        self._cluster.stop(STOP_S)
        self._guard.close()

    def flush(self, timeout_s: float = STOP_S) -> bool:
        """Wait until everything fresh is published; False when it took too long."""
        return self._publisher.flush(timeout_s)

    def get(
        self,
        pages: Sequence[PageRequest],
        *,
        salt: str = "",
        progress: Progress | None = None,
        landed: Landed | None = None,
    ) -> FeatureBatch:
        """Features of these pages, in order; blocks until all are there.

        `salt` is the tenant's (`digest.tenant_salt`). Raises what a page's `pixels`, `progress` or
        `landed` raises, EngineFault for a page that cannot be encoded, WorkerDraining after `stop`.
        """
        started = time.perf_counter()
        recipe = self.recipe.salted(salt)
        digests = [recipe.feature_digest(page.page_digest) for page in pages]
        pending = Pending(digests, Waiter(self._board.lock))
        uploads = self._look_up(pages, pending)
        try:
            if uploads:
                self._upload(uploads, pending)
            self._wait(pending, progress, landed)
        finally:
            with self._board.lock:
                self._board.leave(pending.waiter)
        batch = pending.batch(wait_ms=(time.perf_counter() - started) * 1e3)
        self._ledger.handed_out(batch.sources)
        return batch

    def _look_up(self, pages: Sequence[PageRequest], pending: Pending) -> dict[str, torch.Tensor]:
        """Note what memory holds; the rest is sent on its way. Returns what host memory holds."""
        uploads: dict[str, torch.Tensor] = {}
        new: list[PageInFlight] = []
        with self._board.lock:
            if not self._running:
                raise WorkerDraining("this worker stops; another will take the job")
            for page, digest in zip(pages, pending.digests, strict=True):
                if pending.knows(digest) or digest in uploads:
                    continue
                if (features := self._device.get(digest)) is not None:
                    pending.found[digest] = (features, Source.DEVICE)
                elif (features := self._host.get(digest)) is not None:
                    uploads[digest] = features
                elif self._board.join(digest, pending.waiter, page) is None:
                    num_tokens = self._encoder.num_visual_tokens(page.width, page.height)
                    new.append(self._board.begin(digest, pending.waiter, page, num_tokens))
            self._send_off(new)
        return uploads

    def _send_off(self, new: list[PageInFlight]) -> None:
        """Ask the cluster about new flights, or encode them at once where asking costs more."""
        if not new:
            return
        num_tokens = sum(flight.num_tokens for flight in new)
        if self._guard.up and self._policy.ask_pays(num_tokens):
            hurry_at = self._board.clock() + self._policy.patience_s(num_tokens)
            for flight in new:
                flight.hurry_at = hurry_at
            self._cluster.ask(new)
        else:
            if self._guard.up:
                self._ledger.tell("bypassed", {"num_pages": len(new)})
            for flight in new:
                self._board.want(flight, publish=self._guard.up)

    def _upload(self, uploads: dict[str, torch.Tensor], pending: Pending) -> None:
        transfer = Transfer(self._encoder.device)
        arrived = dict(zip(uploads, transfer.upload(list(uploads.values())), strict=True))
        with self._board.lock:
            for digest, features in arrived.items():
                cost_ms = self._policy.fetch_ms(features.shape[0])
                self._device.put(digest, features, features.nbytes, cost_ms=cost_ms)
                pending.found[digest] = (features, Source.HOST)

    def _wait(self, pending: Pending, progress: Progress | None, landed: Landed | None) -> None:
        """Until all flights are done; meanwhile make the pixels of those that need them here, and
        hand over what has landed."""
        waiter, num_pages = pending.waiter, pending.num_pages
        flights = list(waiter.flights.values())
        told = -1
        while True:
            with self._board.lock:
                drawn = self._next_to_draw(waiter, flights)
                left = sum(flight.state is not State.DONE for flight in flights)
                if drawn is None and left and told == len(flights) - left:
                    pause_s = self._board.hurried(one for one in flights if one.owner is waiter)
                    drawn = self._next_to_draw(waiter, flights)
                    if drawn is None:
                        limits = [pause_s, CHECK_S if progress else None]
                        waiter.changed.wait(min((x for x in limits if x is not None), default=None))
                for flight in flights:
                    if flight.error is not None:
                        raise flight.error
            if progress is not None:
                progress(num_pages - left, num_pages)
            if told != len(flights) - left:
                told = len(flights) - left
                with self._board.lock:
                    ready = pending.next_ready()
                if ready and landed is not None:
                    landed(ready)
            if drawn is not None:
                self._draw(waiter, drawn)
            elif not left:
                return

    def _next_to_draw(self, waiter: Waiter, flights: list[PageInFlight]) -> PageInFlight | None:
        for flight in flights:
            if flight.state is State.WANTED and flight.owner is waiter:
                flight.state = State.DRAWING
                return flight
        return None

    def _draw(self, waiter: Waiter, flight: PageInFlight) -> None:
        request = flight.requests[waiter]
        try:
            pixels = request.pixels()
            fits = pixels.shape[:2] == (request.height, request.width) and (
                pixels.ndim == 2 or pixels.shape[2:] == (3,)
            )
            if not fits or str(pixels.dtype) != "uint8":
                raise EngineFault(
                    f"page {request.page_digest[:12]} has pixels {pixels.dtype}{pixels.shape}, "
                    f"expected uint8{(request.height, request.width)}"
                )
        except Exception:
            with self._board.lock:
                stored = flight.stored
            if stored is None:
                raise
            # Only its audit needed the pixels; the page itself is here.
            self._landing.settle(flight, stored, Source.STORE)
            return
        with self._board.lock:
            if flight.state is not State.DRAWING:  # the cache server was faster after all
                return
            flight.state = State.READY
        self._batcher.submit(flight, pixels)

    def _give_up(self, digest: str, token: str) -> None:
        self._cluster.give_up(digest, token)

    def _announcement(self) -> bytes | None:
        """None while this worker would not fetch what it is told to be stored."""
        return self.recipe.to_wire() if self._policy.fetch_pays() else None

    def stats(self) -> FeatureStats:
        events, sources, num_tower_pages = self._ledger.snapshot()
        with self._board.lock:
            return FeatureStats(
                sources=sources,
                events=events,
                num_tower_pages=num_tower_pages,
                device_bytes=self._device.num_bytes,
                device_entries=len(self._device),
                host_bytes=self._host.num_bytes,
                host_entries=len(self._host),
                store_up=self._guard.up,
                **self._policy.estimates(),
            )

    def _report(self) -> bytes:
        stats = self.stats()
        fields = {name: getattr(stats, name) for name in FeatureStats.__dataclass_fields__}
        return codec.pack("feature_stats", fields)

    def known(self, page_digests: Sequence[str], *, salt: str = "") -> list[bool]:
        """Which pages' features are in memory here or on the cache server; False when unsure."""
        recipe = self.recipe.salted(salt)
        digests = [recipe.feature_digest(one) for one in page_digests]
        with self._board.lock:
            here = [digest in self._device or digest in self._host for digest in digests]
        there = self._guard.call("stored", lambda store: store.stored(digests))
        if there is None:
            return here
        return [a or b for a, b in zip(here, there, strict=True)]
