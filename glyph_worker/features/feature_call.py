"""One `get` under way: the pages asked for, what was found at once, and what is still to come."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from glyph_worker.features.inflight import Waiter
from glyph_worker.features.types import FeatureBatch, Source


class Pending:
    def __init__(self, digests: Sequence[str], waiter: Waiter) -> None:
        """`digests` may repeat: the same page twice in a document."""
        self.digests = digests
        self.waiter = waiter
        self.found: dict[str, tuple[torch.Tensor, Source]] = {}
        self._num_handed = 0

    def knows(self, digest: str) -> bool:
        """Whether the page is found or on its way."""
        return digest in self.found or digest in self.waiter.flights

    @property
    def num_pages(self) -> int:
        """Different pages asked for."""
        return len(set(self.digests))

    def next_ready(self) -> list[torch.Tensor]:
        """Features of the pages after those handed over before, up to the first that is still on
        its way. Under the board's lock."""
        ready = []
        for digest in self.digests[self._num_handed :]:
            features = self._features(digest)
            if features is None:
                break
            ready.append(features)
        self._num_handed += len(ready)
        return ready

    def _features(self, digest: str) -> torch.Tensor | None:
        if digest in self.found:
            return self.found[digest][0]
        return self.waiter.flights[digest].features

    def batch(self, *, wait_ms: float) -> FeatureBatch:
        """All of them; every page must be there."""
        features: list[torch.Tensor] = []
        sources: list[Source] = []
        encode_ms = fetch_ms = 0.0
        billed: set[str] = set()
        for digest in self.digests:
            one = self._features(digest)
            assert one is not None
            if digest in self.found:
                source = self.found[digest][1]
            else:
                flight = self.waiter.flights[digest]
                source = flight.source_for(self.waiter)
                if digest not in billed and flight.owner is self.waiter:
                    encode_ms += flight.encode_ms
                    fetch_ms += flight.fetch_ms
                elif digest in billed:  # the same page again in one document
                    source = Source.DEVICE
            billed.add(digest)
            features.append(one)
            sources.append(source)
        return FeatureBatch(
            features=features,
            sources=sources,
            encode_ms=encode_ms,
            fetch_ms=fetch_ms,
            wait_ms=wait_ms,
        )
