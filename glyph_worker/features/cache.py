"""Page features by digest: memory first, then the cache server, else the tower. Threads meet here.

`get` may be called by many threads. Per process one thread each encodes, fetches, publishes and
talks to the cluster; the caller's own thread makes pixels. Whatever the cache server does, a
job gets right features: late at worst, and then for no longer than an encode takes.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from glyph_worker import codec
from glyph_worker.errors import EngineFault, GlyphError, WorkerDraining
from glyph_worker.features import wire
from glyph_worker.features.audit import drift, tolerance
from glyph_worker.features.cluster import Cluster
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.features.encode import Encoded, PageBatcher
from glyph_worker.features.fetch import Fetched, Fetcher
from glyph_worker.features.flight import Flight, FlightBoard, State, Waiter
from glyph_worker.features.guard import StoreGuard
from glyph_worker.features.policy import BreakEven
from glyph_worker.features.protocol import (
    FeatureBatch,
    FeatureStats,
    FeatureStore,
    Observer,
    PageEncoder,
    PageRequest,
    Source,
)
from glyph_worker.features.publish import Fresh, Publisher
from glyph_worker.features.tiers import ByteCache
from glyph_worker.features.transfer import Transfer
from glyph_worker.settings import FeatureSettings

log = logging.getLogger(__name__)

CHECK_S = 0.25
PUBLISH_QUEUE_BYTES = 512 << 20
STOP_S = 5.0

Progress = Callable[[int, int], None]
"""Told (pages ready, pages asked), at least every 0.25 s; what it raises ends the `get`."""


def _log_event(event: str, fields: Mapping[str, Any]) -> None:
    level = logging.ERROR if event == "audit_mismatch" else logging.DEBUG
    if event in ("store_failed", "store_full", "damaged", "follow_gave_up"):
        level = logging.WARNING
    log.log(level, "%s %s", event, " ".join(f"{name}={value}" for name, value in fields.items()))


class FeatureCache:
    def __init__(
        self,
        encoder: PageEncoder,
        settings: FeatureSettings,
        store: FeatureStore | None = None,
        *,
        observer: Observer = _log_event,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        """Nothing runs before `start`. `seed` fixes which hits are audited."""
        self._encoder = encoder
        self._settings = settings
        self._observe = observer
        self._random = random.Random(seed)
        self.owner = os.urandom(8).hex()
        self.recipe = FeatureRecipe.of(encoder, packing=settings.packing)
        device = encoder.device
        self._device: ByteCache[torch.Tensor] = ByteCache(settings.device_bytes)
        self._host: ByteCache[torch.Tensor] = ByteCache(
            0 if device.type == "cpu" else settings.host_bytes
        )
        self._counts: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._num_tower_pages = 0
        self._count_lock = threading.Lock()
        self._running = False
        self._board = FlightBoard(release=self._give_up, clock=clock)
        self._guard = StoreGuard(store if settings.store else None, self._tell, clock)
        self._policy = BreakEven(measured=settings.break_even, max_wait_s=settings.timeout_s)
        self._batcher = PageBatcher(
            encoder,
            max_pages=settings.micro_batch,
            on_encoded=self._encoded,
            on_failed=self._failed,
        )
        self._fetcher = Fetcher(
            self._guard,
            self._policy,
            device=device,
            dtype=encoder.dtype,
            hidden_size=encoder.hidden_size,
            on_fetched=self._fetched,
            observer=self._tell,
            clock=clock,
        )
        self._cluster = Cluster(
            self._board,
            self._guard,
            self._policy,
            self._fetcher,
            owner=self.owner,
            lease_s=settings.claim_lease_s,
            window=4 * settings.micro_batch,
            patience_s=settings.claim_patience_s,
            claims=settings.single_flight,
            audit=lambda: self._random.random() < settings.audit_share,
            report=self._report,
            recipe=self._announcement,
            observer=self._tell,
        )
        self._publisher = Publisher(
            self._guard,
            self._policy,
            form=settings.packing,
            ttl_s=settings.ttl_s,
            max_queued_bytes=PUBLISH_QUEUE_BYTES,
            device=device,
            release=self._cluster.release,
            settled=self._cluster.settled,
            keep=self._keep,
            observer=self._tell,
        )

    def start(self) -> None:
        """Start the threads; after any fork."""
        self._running = True
        for part in (self._batcher, self._publisher, self._fetcher, self._cluster):
            part.start()

    def stop(self) -> None:
        """End waiting jobs with WorkerDraining, publish what is fresh, give up all claims."""
        with self._board.lock:
            self._running = False
            self._board.fail_all(WorkerDraining("this worker stops; another will take the job"))
        self._batcher.stop(STOP_S)
        self._publisher.stop(STOP_S)
        self._fetcher.stop(STOP_S)
        self._cluster.stop(STOP_S)

    def flush(self, timeout_s: float = STOP_S) -> bool:
        """Wait until everything fresh is published; False when it took too long."""
        return self._publisher.flush(timeout_s)

    def get(
        self,
        pages: Sequence[PageRequest],
        *,
        salt: str = "",
        progress: Progress | None = None,
    ) -> FeatureBatch:
        """Features of these pages, in order; blocks until all are there.

        `salt` is the tenant's (`digest.tenant_salt`). Raises what a page's `pixels` or `progress`
        raises, EngineFault for a page that cannot be encoded, WorkerDraining after `stop`.
        """
        started = time.perf_counter()
        recipe = self.recipe.salted(salt)
        digests = [recipe.feature_digest(page.page_digest) for page in pages]
        waiter = Waiter(self._board.lock)
        found, uploads, new = self._look_up(pages, digests, waiter)
        try:
            if uploads:
                found |= self._upload(uploads)
            self._wait(waiter, new, len(set(digests)) - len(waiter.flights), progress)
        finally:
            with self._board.lock:
                self._board.leave(waiter)
        return self._batch(digests, found, waiter, started)

    def _look_up(
        self, pages: Sequence[PageRequest], digests: Sequence[str], waiter: Waiter
    ) -> tuple[dict[str, tuple[torch.Tensor, Source]], dict[str, torch.Tensor], list[Flight]]:
        """What memory holds, what host memory holds, and new flights for the rest."""
        found: dict[str, tuple[torch.Tensor, Source]] = {}
        uploads: dict[str, torch.Tensor] = {}
        new: list[Flight] = []
        with self._board.lock:
            if not self._running:
                raise WorkerDraining("this worker stops; another will take the job")
            for page, digest in zip(pages, digests, strict=True):
                if digest in found or digest in uploads or digest in waiter.flights:
                    continue
                if (features := self._device.get(digest)) is not None:
                    found[digest] = (features, Source.DEVICE)
                elif (features := self._host.get(digest)) is not None:
                    uploads[digest] = features
                elif self._board.join(digest, waiter, page) is None:
                    num_tokens = self._encoder.num_visual_tokens(page.width, page.height)
                    new.append(self._board.begin(digest, waiter, page, num_tokens))
            self._send_off(new)
        return found, uploads, new

    def _send_off(self, new: list[Flight]) -> None:
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
            for flight in new:
                self._board.want(flight, publish=self._guard.up)

    def _upload(self, uploads: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, Source]]:
        transfer = Transfer(self._encoder.device)
        arrived = dict(zip(uploads, transfer.upload(list(uploads.values())), strict=True))
        with self._board.lock:
            for digest, features in arrived.items():
                cost_ms = self._policy.fetch_ms(features.shape[0])
                self._device.put(digest, features, features.nbytes, cost_ms=cost_ms)
        return {digest: (features, Source.HOST) for digest, features in arrived.items()}

    def _wait(
        self, waiter: Waiter, new: list[Flight], num_found: int, progress: Progress | None
    ) -> None:
        """Until all flights are done; meanwhile make the pixels of those that need them here."""
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
                progress(num_found + len(flights) - left, num_found + len(flights))
            told = len(flights) - left
            if drawn is not None:
                self._draw(waiter, drawn)
            elif not left:
                return

    def _next_to_draw(self, waiter: Waiter, flights: list[Flight]) -> Flight | None:
        for flight in flights:
            if flight.state is State.WANTED and flight.owner is waiter:
                flight.state = State.DRAWING
                return flight
        return None

    def _draw(self, waiter: Waiter, flight: Flight) -> None:
        request = flight.requests[waiter]
        try:
            pixels = request.pixels()
            if pixels.shape != (request.height, request.width) or str(pixels.dtype) != "uint8":
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
            self._settle(flight, stored, Source.STORE)
            return
        with self._board.lock:
            if flight.state is not State.DRAWING:  # the cache server was faster after all
                return
            flight.state = State.READY
        self._batcher.submit(flight, pixels)

    def _batch(
        self,
        digests: Sequence[str],
        found: dict[str, tuple[torch.Tensor, Source]],
        waiter: Waiter,
        started: float,
    ) -> FeatureBatch:
        features: list[torch.Tensor] = []
        sources: list[Source] = []
        encode_ms = fetch_ms = 0.0
        billed: set[str] = set()
        for digest in digests:
            if digest in found:
                one, source = found[digest]
            else:
                flight = waiter.flights[digest]
                assert flight.features is not None
                one, source = flight.features, flight.source_for(waiter)
                if digest not in billed and flight.owner is waiter:
                    encode_ms += flight.encode_ms
                    fetch_ms += flight.fetch_ms
                elif digest in billed:  # the same page again in one document
                    source = Source.DEVICE
            billed.add(digest)
            features.append(one)
            sources.append(source)
        with self._count_lock:
            self._sources.update(source.value for source in sources)
        return FeatureBatch(
            features=features,
            sources=sources,
            encode_ms=encode_ms,
            fetch_ms=fetch_ms,
            wait_ms=(time.perf_counter() - started) * 1e3,
        )

    def _settle(
        self,
        flight: Flight,
        features: torch.Tensor,
        source: Source,
        *,
        encode_ms: float = 0.0,
        fetch_ms: float = 0.0,
    ) -> bool:
        """Keep and hand out; False when it was settled before."""
        with self._board.lock:
            if flight.state is State.DONE:
                return False
            if source is not Source.ENCODED:
                self._cluster.give_up(flight.digest, flight.token)
            flight.source = source
            flight.encode_ms += encode_ms
            flight.fetch_ms += fetch_ms
            cheap = source is not Source.ENCODED
            cost = self._policy.fetch_ms if cheap else self._policy.encode_ms
            self._device.put(
                flight.digest, features, features.nbytes, cost_ms=cost(flight.num_tokens)
            )
            self._board.finish(flight, features)
            self._cluster.window_moved()
            return True

    def _encoded(self, pages: list[Encoded], elapsed_ms: float) -> None:
        num_tokens = sum(page.flight.num_tokens for page in pages)
        self._policy.encoded(num_tokens, len(pages), elapsed_ms)
        with self._count_lock:
            self._num_tower_pages += len(pages)
        for page in pages:
            flight = page.flight
            lossy = self._settings.packing == "int8"
            # What is cached comes back rounded, so what is fresh is rounded too.
            features = wire.rounded(page.features) if lossy else page.features
            with self._board.lock:
                stored, audited = flight.stored, flight.audit
            if audited and stored is not None:
                self._compare(flight, features, stored)
            if self._settle(flight, features, Source.ENCODED, encode_ms=page.share_ms):
                self._hand_over(flight, page.features)

    def _hand_over(self, flight: Flight, fresh: torch.Tensor) -> None:
        if not flight.publish and not flight.token:
            return
        if self._guard.up and self._policy.publish_pays(flight.num_tokens):
            self._publisher.submit(Fresh(flight.digest, fresh, flight.token))
        else:
            self._cluster.release(flight.digest, flight.token)
            self._tell("publish_skipped", {"feature_digest": flight.digest, "why": "does not pay"})

    def _compare(self, flight: Flight, fresh: torch.Tensor, stored: torch.Tensor) -> None:
        found = drift(fresh, stored)
        limit = tolerance(self._encoder.dtype)
        if found <= limit:
            return
        fields = {"feature_digest": flight.digest, "drift": found, "limit": limit}
        self._tell("audit_mismatch", fields)
        seconds = self._settings.quarantine_s
        self._guard.call(
            "quarantine",
            lambda store: store.quarantine(flight.digest, f"drift {found:.3g}", ttl_s=seconds),
        )
        with self._board.lock:
            self._host.pop(flight.digest)

    def _failed(self, flight: Flight, fault: EngineFault) -> None:
        self._tell("encode_failed", {"feature_digest": flight.digest, "error": fault.message})
        with self._board.lock:
            if flight.state is not State.DONE:
                self._board.finish(flight, error=fault)
                self._cluster.window_moved()

    def _fetched(self, pages: list[Fetched]) -> None:
        missing = []
        for page in pages:
            flight = page.flight
            if page.features is None:
                missing.append(flight)
                continue
            with self._board.lock:
                if page.host is not None:
                    self._host.put(flight.digest, page.host, page.host.nbytes)
                if flight.audit and flight.state is State.FETCHING:
                    flight.stored = page.features
                    flight.fetch_ms += page.share_ms
                    self._board.want(flight, publish=False)
                    continue
                if flight.audit and flight.state is not State.DONE:
                    flight.stored = page.features  # hurried: compared when the encode is done
                    continue
            source = Source.WAITED if flight.followed else Source.STORE
            if not self._settle(flight, page.features, source, fetch_ms=page.share_ms):
                self._tell("fetched_late", {"feature_digest": flight.digest})
        with self._board.lock:
            again = [flight for flight in missing if flight.state is State.FETCHING]
            if again:
                self._tell("vanished", {"num_pages": len(again)})
            for flight in again:
                flight.state = State.ASKING
            self._cluster.ask(again)

    def _keep(self, digest: str, host: torch.Tensor) -> None:
        with self._board.lock:
            self._host.put(digest, host, host.nbytes)

    def _give_up(self, digest: str, token: str) -> None:
        self._cluster.give_up(digest, token)

    def _tell(self, event: str, fields: Mapping[str, Any]) -> None:
        with self._count_lock:
            self._counts[event] += 1
        self._observe(event, fields)

    def _announcement(self) -> bytes | None:
        """None while this worker would not fetch what it is told to be stored."""
        return self.recipe.to_wire() if self._policy.fetch_pays() else None

    def stats(self) -> FeatureStats:
        with self._count_lock:
            counts, sources = dict(self._counts), dict(self._sources)
            num_tower_pages = self._num_tower_pages
        with self._board.lock:
            return FeatureStats(
                sources=sources,
                events=counts,
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
        try:
            there = self._guard.call("stored", lambda store: store.stored(digests))
        except GlyphError:
            there = None
        if there is None:
            return here
        return [a or b for a, b in zip(here, there, strict=True)]
