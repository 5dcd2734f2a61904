"""The cache server's contract in this process's memory. No network.

Bound by bytes with the same least-recently-used rule as the server's `allkeys-lru`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from glyph_worker.features.memory_tier import MemoryTier
from glyph_worker.features.types import ClaimState, CommitState


class MemoryStore:
    """Thread-safe; shared by as many caches as one likes."""

    def __init__(
        self, *, max_bytes: int = 1 << 30, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: MemoryTier[tuple[bytes, float]] = MemoryTier(max_bytes)
        self._claims: dict[str, tuple[str, str, float]] = {}  # token, owner, until
        self._quarantine: dict[str, float] = {}
        self._recipes: dict[bytes, float] = {}
        self._reports: dict[str, bytes] = {}
        self._probes: dict[str, bytes] = {}
        self._fence = itertools.count(1)

    def _value(self, digest: str) -> bytes | None:
        found = self._values.get(digest)
        if found is None:
            return None
        if found[1] <= self._clock():
            self._values.pop(digest)
            return None
        return found[0]

    def _holder(self, digest: str) -> tuple[str, str] | None:
        claim = self._claims.get(digest)
        if claim is None or claim[2] <= self._clock():
            return None
        return claim[0], claim[1]

    def _quarantined(self, digest: str) -> bool:
        return self._quarantine.get(digest, 0.0) > self._clock()

    def claim(
        self, digests: Sequence[str], *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[ClaimState, str]]:
        answers: list[tuple[ClaimState, str]] = []
        with self._lock:
            for digest in digests:
                holder = self._holder(digest)
                if self._quarantined(digest):
                    answers.append(("quarantined", ""))
                elif self._value(digest) is not None:
                    answers.append(("stored", ""))
                elif holder is not None and holder[1] != owner:
                    answers.append(("held", holder[0]))
                elif limit > 0:
                    limit -= 1
                    token = f"{next(self._fence)}:{owner}"
                    self._claims[digest] = (token, owner, self._clock() + lease_s)
                    answers.append(("claimed", token))
                else:
                    answers.append(("free", ""))
        return answers

    def renew(self, claims: Sequence[tuple[str, str]], *, lease_s: float) -> list[bool]:
        answers = []
        with self._lock:
            for digest, token in claims:
                holder = self._holder(digest)
                ours = holder is not None and holder[0] == token
                if ours and holder is not None:
                    self._claims[digest] = (token, holder[1], self._clock() + lease_s)
                answers.append(ours)
        return answers

    def stored(self, digests: Sequence[str]) -> list[bool]:
        with self._lock:
            return [self._value(digest) is not None for digest in digests]

    def fetch(self, digests: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return [self._value(digest) for digest in digests]

    def publish(
        self, digest: str, parts: Sequence[bytes | memoryview], *, token: str, ttl_s: int
    ) -> CommitState:
        value = b"".join(parts)
        with self._lock:
            holder = self._holder(digest)
            if holder is not None and holder[0] != token:
                return "fenced"
            self._claims.pop(digest, None)
            if self._quarantined(digest):
                return "quarantined"
            self._values.put(digest, (value, self._clock() + ttl_s), len(value))
            return "stored" if digest in self._values else "lost"

    def drop(self, digests: Sequence[str]) -> int:
        with self._lock:
            return sum(self._values.pop(digest) is not None for digest in digests)

    def quarantine(self, digest: str, reason: str, *, ttl_s: int) -> None:
        with self._lock:
            self._values.pop(digest)
            self._quarantine[digest] = self._clock() + ttl_s

    def announce(self, recipe: bytes) -> None:
        with self._lock:
            self._recipes[recipe] = self._clock()

    def recipes(self) -> list[bytes]:
        with self._lock:
            return [one for one, since in self._recipes.items() if since > self._clock() - 90]

    def report(self, owner: str, stats: bytes) -> None:
        with self._lock:
            self._reports[owner] = stats

    def reports(self) -> dict[str, bytes]:
        with self._lock:
            return dict(self._reports)

    def put_probe(self, owner: str, value: bytes) -> None:
        with self._lock:
            self._probes[owner] = value

    def get_probe(self, owner: str) -> bytes | None:
        with self._lock:
            return self._probes.get(owner)

    def ping(self) -> None:
        return

    def digests(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._values))

    def sizes(self, digests: Sequence[str]) -> list[int]:
        with self._lock:
            return [len(self._value(digest) or b"") for digest in digests]

    def memory(self) -> dict[str, Any]:
        with self._lock:
            used, most = self._values.num_bytes, self._values.max_bytes
        return {"used_memory": used, "maxmemory": most, "maxmemory_policy": "allkeys-lru"}

    def clear(self) -> int:
        with self._lock:
            num = len(self._values)
            self._values.clear()
            self._claims.clear()
            self._quarantine.clear()
        return num
