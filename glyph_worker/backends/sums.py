"""What a backend that is not our engine counts of its jobs. Thread-safe; no I/O."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SPAN_S = 10.0
"""The speed is a mean over these last seconds."""


@dataclass(eq=False, slots=True)
class Inside:
    """One job within."""

    began: bool = False
    """Its first token has come."""


class Sums:
    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._inside: set[Inside] = set()
        self._counts = dict.fromkeys(
            ("finished", "failed", "cancelled", "prefill_tokens", "decode_tokens"), 0.0
        )
        self._recent: deque[tuple[float, int]] = deque()

    @contextmanager
    def job(self) -> Iterator[Inside]:
        """Around one answer; what comes out of it counts as failed."""
        inside = Inside()
        with self._lock:
            self._inside.add(inside)
        try:
            yield inside
        except BaseException:
            self.add(failed=1)
            raise
        finally:
            with self._lock:
                self._inside.remove(inside)

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
            inside, decoding = len(self._inside), sum(one.began for one in self._inside)
            return self._counts | {
                "slots_used": float(min(inside, self._slots)),
                "slots_total": float(self._slots),
                "waiting": float(max(0, inside - self._slots)),
                "prefilling": float(inside - decoding),
                "decoding": float(decoding),
                "tokens_per_s": tokens / SPAN_S,
            }
