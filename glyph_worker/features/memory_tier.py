"""Which features stay in memory: least worth per byte goes first. Accounting only: no tensors.

GreedyDual-Size (Cao and Irani, 1997): an entry's priority is the clock at its last use plus
what it would cost to get it again, per byte; the least priority is evicted and the clock moves
up to it. Where all entries cost alike per byte this is exact least-recently-used.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    num_bytes: int
    worth: float
    stamp: int


class MemoryTier(Generic[V]):
    """Values by digest within `max_bytes`. Not thread-safe: the owner holds a lock."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._entries: dict[str, _Entry[V]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._stamps = itertools.count(1)
        self._clock = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def get(self, key: str) -> V | None:
        """The value, now the most recently used; None when missing."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._touch(key, entry)
        return entry.value

    def put(self, key: str, value: V, num_bytes: int, *, cost_ms: float = 1.0) -> list[str]:
        """Keep a value that takes `cost_ms` to get again. Returns the keys evicted for it.

        A value larger than the whole cache is not kept, and evicts nothing.
        """
        self.pop(key)
        if num_bytes > self.max_bytes:
            return []
        evicted = []
        while self.num_bytes + num_bytes > self.max_bytes:
            evicted.append(self._evict())
        entry = _Entry(value, num_bytes, cost_ms / max(1, num_bytes), 0)
        self._entries[key] = entry
        self.num_bytes += num_bytes
        self._touch(key, entry)
        return evicted

    def pop(self, key: str) -> V | None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.num_bytes -= entry.num_bytes
        return entry.value

    def clear(self) -> None:
        self._entries.clear()
        self._heap.clear()
        self.num_bytes = 0

    def _touch(self, key: str, entry: _Entry[V]) -> None:
        entry.stamp = next(self._stamps)
        heapq.heappush(self._heap, (self._clock + entry.worth, entry.stamp, key))
        if len(self._heap) > 4 * len(self._entries) + 64:  # mostly stale: keep the live ones
            live = self._entries
            self._heap = [
                item for item in self._heap if item[2] in live and live[item[2]].stamp == item[1]
            ]
            heapq.heapify(self._heap)

    def _evict(self) -> str:
        while True:
            priority, stamp, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            if entry is not None and entry.stamp == stamp:
                self._clock = priority
                self.pop(key)
                return key
