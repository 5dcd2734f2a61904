"""What ended jobs took, summed over all workers: counters and histograms in one Redis hash.

Kept on the broker and not in each worker, so that one scrape sees the cluster, a restart loses
nothing, and the prefork pool needs no files. Workers add up in memory and flush once a second.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from glyph_worker import codec
from glyph_worker.job import Receipt
from glyph_worker.store.clock import seconds, server_time
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys

TTL_S = 30 * 86_400
ENGINE_TTL_S = 3_600
SILENT_S = 10.0
"""An engine that was silent for so long counts as gone."""

STAGES = ("queue", "render", "encode", "prefill", "decode", "guard", "total")
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
PAGES = ("rendered", "encoded", "reused")
TOKENS = ("document", "visual", "prompt", "prefix_reused", "answer")


@dataclass(frozen=True, slots=True)
class Engine:
    """What one answer worker last said of its engine; names are EngineStats' fields."""

    worker: str
    stats: dict[str, float]


@dataclass(frozen=True, slots=True)
class Sums:
    """Everything since the tally began. Stage buckets are not cumulative."""

    counts: dict[str, float]

    def stage(self, stage: str) -> tuple[list[tuple[str, float]], float]:
        """Cumulative buckets up to +Inf as Prometheus wants them, and the sum in seconds."""
        total, buckets = 0.0, []
        for at, bound in enumerate((*map(str, BUCKETS_S), "+Inf")):
            total += self.counts.get(f"stage:{stage}:{at}", 0.0)
            buckets.append((bound, total))
        return buckets, self.counts.get(f"stage:{stage}:sum", 0.0)

    def family(self, name: str) -> dict[str, float]:
        """Counters `name:label` by label."""
        start = f"{name}:"
        return {k.removeprefix(start): v for k, v in self.counts.items() if k.startswith(start)}


@dataclass(slots=True)
class Tally:
    """Thread-safe. Raises StoreUnavailable, StoreFull or StoreDenied from flush and reads."""

    client: Server
    keys: Keys
    _pending: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, receipt: Receipt) -> None:
        """One answered job. In memory only."""
        pages = {
            "rendered": receipt.pages_rendered,
            "encoded": receipt.pages_encoded,
            "reused": receipt.pages_reused,
        }
        tokens = {
            "document": receipt.document_tokens,
            "visual": receipt.visual_tokens,
            "prompt": receipt.prompt_tokens,
            "prefix_reused": receipt.prefix_tokens_reused,
            "thinking": receipt.thinking_tokens,
            "answer": receipt.answer_tokens,
        }
        with self._lock:
            for stage in STAGES:
                seconds = getattr(receipt, f"{stage}_ms") / 1e3
                self._pending[f"stage:{stage}:{bisect_left(BUCKETS_S, seconds)}"] += 1
                self._pending[f"stage:{stage}:sum"] += seconds
            for name, number in pages.items():
                self._pending[f"pages:{name}"] += number
            for name, number in tokens.items():
                self._pending[f"tokens:{name}"] += number
            self._pending[f"answers:{receipt.device.partition(':')[0]}/{receipt.dtype}"] += 1
            self._pending["fallbacks:all"] += bool(receipt.fallback)

    def add_literals(self, model: str, statuses: Iterable[str]) -> None:
        """Literals of one answer, by what became of them. In memory only."""
        with self._lock:
            for status in statuses:
                self._pending[f"literals:{model}/{status}"] += 1

    def flush(self) -> None:
        """Add what has gathered to the cluster's sums; on an error it is kept for the next time."""
        with self._lock:
            taken, self._pending = self._pending, defaultdict(float)
        if not taken:
            return
        try:
            pipe = self.client.pipeline()
            for name, number in taken.items():
                pipe.hincrbyfloat(self.keys.tally, name, number)
            pipe.expire(self.keys.tally, TTL_S)
            pipe.execute()
        except Exception:
            with self._lock:
                for name, number in taken.items():
                    self._pending[name] += number
            raise

    def announce(self, worker: str, stats: dict[str, float]) -> None:
        """Say how the engine is; forgotten when the worker falls silent."""
        seen_at = server_time(self.client)
        packed = codec.pack("engine", {"seen_at": seen_at, "stats": stats})
        pipe = self.client.pipeline()
        pipe.hset(self.keys.engines, worker, packed)
        pipe.expire(self.keys.engines, ENGINE_TTL_S)
        pipe.execute()

    def sums(self) -> Sums:
        raw = cast("dict[bytes, bytes]", self.client.hgetall(self.keys.tally))
        return Sums({name.decode(): float(value) for name, value in raw.items()})

    def engines(self) -> list[Engine]:
        """Those heard of lately; forgets the others."""
        pipe = self.client.pipeline(transaction=False)
        pipe.hgetall(self.keys.engines)
        pipe.time()
        raw, now = pipe.execute()
        oldest, found, gone = seconds(now) - SILENT_S, [], []
        for name, packed in raw.items():
            said = codec.unpack("engine", packed)
            if said["seen_at"] >= oldest:
                found.append(Engine(name.decode(), said["stats"]))
            elif said["seen_at"] < oldest - 50:
                gone.append(name)
        if gone:
            self.client.hdel(self.keys.engines, *gone)
        return sorted(found, key=lambda engine: engine.worker)
