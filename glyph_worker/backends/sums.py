"""What a backend that is not our engine counts of its jobs. Thread-safe; no I/O."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

SPAN_S = 10.0
"""The speed is a mean over these last seconds."""


class Sums:
    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._inside = self._decoding = 0
        self._counts = dict.fromkeys(
            ("finished", "failed", "cancelled", "prefill_tokens", "decode_tokens"), 0.0
        )
        self._recent: deque[tuple[float, int]] = deque()

    @contextmanager
    def job(self) -> Iterator[None]:
        """Around one answer; what comes out of it counts as failed."""
        with self._lock:
            self._inside += 1
        try:
            yield
        except BaseException:
            self.add(failed=1)
            raise
        finally:
            with self._lock:
                self._inside -= 1

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Around its tokens, after the first."""
        with self._lock:
            self._decoding += 1
        try:
            yield
        finally:
            with self._lock:
                self._decoding -= 1

    def add(self, **counts: int) -> None:
        """To any of finished, failed, cancelled, prefill_tokens, decode_tokens."""
        now = time.monotonic()
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count
            if num_tokens := counts.get("decode_tokens"):
                self._recent.append((now, num_tokens))
            self._forget(now)

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - SPAN_S:
            self._recent.popleft()

    def read(self) -> dict[str, float]:
        """Named as EngineStats names them."""
        with self._lock:
            self._forget(time.monotonic())
            tokens = sum(count for _, count in self._recent)
            inside, decoding = self._inside, self._decoding
            return self._counts | {
                "slots_used": float(min(inside, self._slots)),
                "slots_total": float(self._slots),
                "waiting": float(max(0, inside - self._slots)),
                "prefilling": float(max(0, inside - decoding)),
                "decoding": float(decoding),
                "tokens_per_s": tokens / SPAN_S,
            }
