"""The vision tower in micro-batches: pages of many jobs, one thread. Knows no cache.

A micro-batch takes what is ready, of one page size, and never waits for more. When it fails it is
halved until the culprit stands alone; the others succeed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from glyph_worker.errors import EngineFault
from glyph_worker.features.inflight import PageInFlight, State
from glyph_worker.features.types import PageEncoder, token_width
from glyph_worker.model.checkpoint import use_device

log = logging.getLogger(__name__)

Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One page out of a micro-batch."""

    flight: PageInFlight
    features: torch.Tensor
    """`[num_tokens, hidden]` on the encoder's device, in memory of its own."""
    share_ms: float


class PageBatcher:
    def __init__(
        self,
        encoder: PageEncoder,
        *,
        max_pages: int,
        on_warm: Callable[[int, float], None],
        on_encoded: Callable[[list[Encoded], float], None],
        on_failed: Callable[[PageInFlight, EngineFault], None],
    ) -> None:
        """All callbacks run in the encoder's thread. `on_warm` gets visual tokens and milliseconds
        of a blank page, `on_encoded` a whole micro-batch and its milliseconds."""
        self._encoder = encoder
        self._max_pages = max_pages
        self._on_warm = on_warm
        self.calibrated = threading.Event()
        self._on_encoded = on_encoded
        self._on_failed = on_failed
        self._changed = threading.Condition()
        self._ready: deque[tuple[PageInFlight, Pixels]] = deque()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="glyph-encode", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        with self._changed:
            self._running = False
            self._ready.clear()
            self._changed.notify()
        self._thread.join(timeout_s)

    def submit(self, flight: PageInFlight, pixels: Pixels) -> None:
        """Queue a page, uint8[height, width], or [height, width, 3]."""
        with self._changed:
            self._ready.append((flight, pixels))
            self._changed.notify()

    def _take(self) -> list[tuple[PageInFlight, Pixels]]:
        """The oldest page and others of its size, in order of age; empty when stopped."""
        with self._changed:
            while self._running and not self._ready:
                self._changed.wait()
            if not self._ready:
                return []
            shape = self._ready[0][1].shape
            batch: list[tuple[PageInFlight, Pixels]] = []
            others: deque[tuple[PageInFlight, Pixels]] = deque()
            while self._ready and len(batch) < self._max_pages:
                item = self._ready.popleft()
                (batch if item[1].shape == shape else others).append(item)
            self._ready.extendleft(reversed(others))
            return batch

    def _warm_up(self) -> None:
        """A blank page twice: the first pays for what is lazy, the second is measured."""
        width, height = self._encoder.sample_size
        blank = np.full((height, width), 255, dtype=np.uint8)
        try:
            self._forward([blank])
            started = time.perf_counter()
            [features] = self._forward([blank])
            self._on_warm(features.shape[0], (time.perf_counter() - started) * 1e3)
        except Exception:
            log.exception("warm-up of the vision tower")  # a job will meet it and say so
        self.calibrated.set()

    def _run(self) -> None:
        use_device(self._encoder.device)
        self._warm_up()
        while batch := self._take():
            batch = [item for item in batch if item[0].state is not State.DONE]
            if not batch:  # the cache server was faster after all
                continue
            try:
                self._encode(batch)
            except Exception as exc:
                log.exception("encode thread")
                for flight, _ in batch:
                    self._on_failed(flight, EngineFault(f"encoding failed: {exc!r}"))

    def _encode(self, batch: list[tuple[PageInFlight, Pixels]]) -> None:
        started = time.perf_counter()
        try:
            results = self._forward([pixels for _, pixels in batch])
        except Exception as exc:  # noqa: BLE001 - whatever the model raises; settled below
            if len(batch) == 1:
                flight = batch[0][0]
                fault = EngineFault(
                    f"page features {flight.digest[:12]} ({flight.width}×{flight.height} px) "
                    f"could not be encoded: {exc!r:.200}"
                )
                fault.__cause__ = exc
                self._on_failed(flight, fault)
                return
            if isinstance(exc, torch.OutOfMemoryError):
                self._max_pages = max(1, len(batch) // 2)
            half = len(batch) // 2
            self._encode(batch[:half])
            self._encode(batch[half:])
            return
        elapsed_ms = (time.perf_counter() - started) * 1e3
        share_ms = elapsed_ms / len(batch)
        pairs = zip(batch, results, strict=True)
        self._on_encoded([Encoded(item[0], out, share_ms) for item, out in pairs], elapsed_ms)

    def _forward(self, pages: list[Pixels]) -> list[torch.Tensor]:
        encoder = self._encoder
        with torch.no_grad():
            results = list(encoder.encode_pages(pages))
        height, width = pages[0].shape[:2]
        expected = (encoder.num_visual_tokens(width, height), token_width(encoder))
        shapes = {tuple(features.shape) for features in results}
        if len(results) != len(pages) or shapes != {expected}:
            raise EngineFault(f"encoder gave {len(results)} × {shapes}, expected {expected}")
        # A view would keep its whole micro-batch in memory for as long as it is cached.
        own = [
            features if features.untyped_storage().nbytes() == features.nbytes else features.clone()
            for features in results
        ]
        if encoder.device.type == "cuda":
            torch.cuda.current_stream(encoder.device).synchronize()
        return own
