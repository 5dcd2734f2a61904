"""Fresh features to the cache server, in the background: one thread, bounded bytes. Never waits.

What does not fit its queue, is not finite, or meets a server that is full is not published; its
claim is given up, so that followers encode for themselves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from glyph_worker.features import wire
from glyph_worker.features.break_even import BreakEven
from glyph_worker.features.transfer import Transfer
from glyph_worker.features.types import FeatureStore
from glyph_worker.store.breaker import CircuitBreaker, Observer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fresh:
    """Features to publish, as the tower made them."""

    digest: str
    features: torch.Tensor
    token: str
    """Fence of our claim; empty without one."""


def _finite(host: torch.Tensor) -> bool:
    # One sum tells, unless it overflows by itself: five times cheaper than looking at each.
    return bool(torch.isfinite(host.sum(dtype=torch.float32))) or bool(torch.isfinite(host).all())


class Publisher:
    def __init__(
        self,
        guard: CircuitBreaker[FeatureStore],
        policy: BreakEven,
        *,
        form: wire.Form,
        num_tensors: int,
        ttl_s: int,
        max_queued_bytes: int,
        device: torch.device,
        release: Callable[[str, str], None],
        settled: Callable[[str, str], None],
        keep: Callable[[str, torch.Tensor], None],
        observer: Observer,
    ) -> None:
        """`release` gives up a claim, `settled` hears of one that ended on the server; `keep` gets
        the host copy of what came from another device."""
        self._guard = guard
        self._policy = policy
        self._form = form
        self._num_tensors = num_tensors
        self._ttl_s = ttl_s
        self._max_queued_bytes = max_queued_bytes
        self._transfer = Transfer(device)
        self._copies = device.type != "cpu"
        self._release = release
        self._settled = settled
        self._keep = keep
        self._observer = observer
        self._changed = threading.Condition()
        self._queue: deque[Fresh] = deque()
        self._queued_bytes = 0
        self._busy = False
        self._running = True
        self._thread = threading.Thread(target=self._run, name="glyph-publish", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Publish what is queued, as far as the time allows; give up the rest."""
        self.flush(timeout_s)
        with self._changed:
            self._running = False
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for fresh in left:
            self._release(fresh.digest, fresh.token)
        self._thread.join(timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is queued; False when it took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._busy, timeout_s)

    def submit(self, fresh: Fresh) -> None:
        with self._changed:
            fits = self._queued_bytes + fresh.features.nbytes <= self._max_queued_bytes
            if fits and self._running:
                self._queue.append(fresh)
                self._queued_bytes += fresh.features.nbytes
                self._changed.notify_all()
                return
        self._skip(fresh, "queue is full")

    def _skip(self, fresh: Fresh, why: str) -> None:
        self._release(fresh.digest, fresh.token)
        self._observer("publish_skipped", {"feature_digest": fresh.digest, "why": why})

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while self._running and not self._queue:
                    self._changed.wait()
                if not self._queue:
                    return
                fresh = self._queue.popleft()
                self._queued_bytes -= fresh.features.nbytes
                self._busy = True
            try:
                self._publish(fresh)
            except Exception:
                log.exception("publish thread")
                self._release(fresh.digest, fresh.token)

    def _publish(self, fresh: Fresh) -> None:
        if not self._guard.up:
            return self._skip(fresh, "cache server is down")
        if self._guard.full:
            return self._skip(fresh, "cache server is full")
        started = time.perf_counter()
        host = self._transfer.download(fresh.features)
        # NaN and infinity of a half-precision overflow must not outlive their job.
        if not _finite(host):
            return self._skip(fresh, "not finite")
        if self._copies and self._form != "int8":
            self._keep(fresh.digest, host)
        parts = wire.encode(fresh.digest, host, self._form, num_tensors=self._num_tensors)
        state = self._guard.call(
            "publish",
            lambda store: store.publish(fresh.digest, parts, token=fresh.token, ttl_s=self._ttl_s),
        )
        elapsed_ms = (time.perf_counter() - started) * 1e3
        if state is None:
            return self._skip(fresh, "cache server failed")
        self._policy.published(host.shape[0], elapsed_ms)
        self._settled(fresh.digest, fresh.token)
        num_bytes = sum(len(part) for part in parts)
        fields = {"feature_digest": fresh.digest, "num_bytes": num_bytes, "ms": elapsed_ms}
        self._observer("published" if state == "stored" else f"publish_{state}", fields)
        return None
