"""What comes from the tower or the server: kept in memory, handed to its jobs, published, audited.

Runs in the threads of the encoder and the fetcher. A page lands once; what comes later is dropped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from glyph_worker.errors import EngineFault
from glyph_worker.features import wire
from glyph_worker.features.audit import drift, tolerance
from glyph_worker.features.break_even import BreakEven
from glyph_worker.features.claims import Cluster
from glyph_worker.features.counters import Ledger
from glyph_worker.features.encode import Encoded
from glyph_worker.features.fetch import Fetched
from glyph_worker.features.inflight import InFlightPages, PageInFlight, State
from glyph_worker.features.memory_tier import MemoryTier
from glyph_worker.features.publish import Fresh
from glyph_worker.features.types import FeatureStore, Source
from glyph_worker.store.breaker import CircuitBreaker

Tier = MemoryTier[torch.Tensor]


class Arrivals:
    cluster: Cluster
    publish: Callable[[Fresh], None]

    def __init__(
        self,
        board: InFlightPages,
        device: Tier,
        host: Tier,
        guard: CircuitBreaker[FeatureStore],
        policy: BreakEven,
        ledger: Ledger,
        *,
        lossy: bool,
        num_tensors: int,
        quarantine_s: int,
    ) -> None:
        """`device` and `host` are guarded by the board's lock. Set `cluster` and `publish` before
        the first page lands."""
        self._board = board
        self._device = device
        self._host = host
        self._guard = guard
        self._policy = policy
        self._ledger = ledger
        self._lossy = lossy
        self._num_tensors = num_tensors
        self._quarantine_s = quarantine_s

    def encoded(self, pages: list[Encoded], elapsed_ms: float) -> None:
        """A micro-batch came out of the tower."""
        num_tokens = sum(page.flight.num_tokens for page in pages)
        self._policy.encoded(num_tokens, len(pages), elapsed_ms)
        self._ledger.went_through_tower(len(pages))
        for page in pages:
            flight = page.flight
            # What is cached comes back rounded, so what is fresh is rounded too.
            features = page.features
            if self._lossy:
                features = wire.rounded(features, self._num_tensors)
            with self._board.lock:
                stored = flight.stored
            if stored is not None:
                self._compare(flight, features, stored)
            if self.settle(flight, features, Source.ENCODED, encode_ms=page.share_ms):
                self._hand_over(flight, page.features)

    def failed(self, flight: PageInFlight, fault: EngineFault) -> None:
        """A page that the tower cannot encode."""
        fields = {"feature_digest": flight.digest, "error": fault.message}
        self._ledger.tell("encode_failed", fields)
        with self._board.lock:
            if flight.state is not State.DONE:
                self._board.finish(flight, error=fault)
                self.cluster.window_moved()

    def fetched(self, pages: list[Fetched]) -> None:
        """A transfer came in; what is missing is asked about again."""
        missing = []
        for page in pages:
            flight = page.flight
            if page.features is None:
                missing.append(flight)
                continue
            with self._board.lock:
                if page.host is not None:
                    self._host.put(flight.digest, page.host, page.host.nbytes)
                if flight.audit and flight.state is not State.DONE:
                    flight.stored = page.features
                    flight.fetch_ms += page.share_ms
                    if flight.state is State.FETCHING:  # else it is being encoded already
                        self._board.want(flight, publish=False)
                    continue
            source = Source.WAITED if flight.followed else Source.STORE
            if not self.settle(flight, page.features, source, fetch_ms=page.share_ms):
                self._ledger.tell("fetched_late", {"feature_digest": flight.digest})
        with self._board.lock:
            again = [flight for flight in missing if flight.state is State.FETCHING]
            for flight in again:
                flight.state = State.ASKING
            self.cluster.ask(again)
        if again:
            self._ledger.tell("vanished", {"num_pages": len(again)})

    def settle(
        self,
        flight: PageInFlight,
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
                self.cluster.give_up(flight.digest, flight.token)
            flight.source = source
            flight.encode_ms += encode_ms
            flight.fetch_ms += fetch_ms
            # To get it again takes a fetch if it is, or is about to be, on the server.
            stored = source is not Source.ENCODED or (flight.publish and self._guard.up)
            cost = self._policy.fetch_ms if stored else self._policy.encode_ms
            self._device.put(
                flight.digest, features, features.nbytes, cost_ms=cost(flight.num_tokens)
            )
            self._board.finish(flight, features)
            self.cluster.window_moved()
            return True

    def _hand_over(self, flight: PageInFlight, fresh: torch.Tensor) -> None:
        if not flight.publish and not flight.token:
            return
        if self._guard.up and self._policy.fetch_pays():
            self.publish(Fresh(flight.digest, fresh, flight.token))
        else:
            self.cluster.release(flight.digest, flight.token)
            fields = {"feature_digest": flight.digest, "why": "does not pay"}
            self._ledger.tell("publish_skipped", fields)

    def _compare(self, flight: PageInFlight, fresh: torch.Tensor, stored: torch.Tensor) -> None:
        found, limit = drift(fresh, stored), tolerance(fresh.dtype)
        if self._lossy:
            limit += wire.one_level(fresh, self._num_tensors)
        if found <= limit:
            return
        fields = {"feature_digest": flight.digest, "drift": found, "limit": limit}
        self._ledger.tell("audit_mismatch", fields)
        reason = f"drift {found:.3g}, limit {limit:.3g}"
        self._guard.call(
            "quarantine",
            lambda store: store.quarantine(flight.digest, reason, ttl_s=self._quarantine_s),
        )
        with self._board.lock:
            self._host.pop(flight.digest)

    def keep(self, digest: str, host: torch.Tensor) -> None:
        """The host copy that publishing made."""
        with self._board.lock:
            self._host.put(digest, host, host.nbytes)
