"""Micro-batches of pages over fixed buffers, replayed as CUDA graphs. One per grid and size.

A graph costs three forwards to record, so only what comes again is recorded. A micro-batch is
filled up with whatever pages its buffer held before. Without capture the same buffers go through
the plain forward: that is how it is tested on the CPU.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog
import torch
from torch import Tensor

from glyph_worker.model.capture import capture
from glyph_worker.model.processor import Grid

log = structlog.get_logger(__name__)

Forward = Callable[[Tensor, Grid, torch.dtype], Tensor]
"""uint8 [num_pages, height, width] to features [num_pages, num_tokens, hidden]."""

RECORD_AFTER = 2
"""Runs of a grid and size before it is recorded: pages cropped to their text have many grids."""
MAX_GRAPHS = 32
"""The one not used for the longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph | None
    pixels: Tensor
    features: Tensor


class VisionGraphs:
    """Belongs to the vision tower's lock. Its forward must not move tensors to or from the host."""

    def __init__(self, forward: Forward, *, dtype: torch.dtype, replay: bool) -> None:
        self._forward = forward
        self._dtype = dtype
        self._replay = replay
        # One memory pool for all graphs: they never run at the same time.
        self._memory = torch.cuda.graph_pool_handle() if replay else None
        self._recorded: OrderedDict[tuple[Grid, int], _Recorded] = OrderedDict()
        self._seen: Counter[tuple[Grid, int]] = Counter()
        self.refused: str | None = None
        """Why nothing is recorded any more, after a recording failed once."""

    @property
    def num_graphs(self) -> int:
        return len(self._recorded)

    def run(self, pixels: Tensor, grid: Grid, *, max_pages: int) -> Tensor:
        """Features of these pages, in memory of their own. `max_pages` bounds the filling up."""
        num_pages = pixels.shape[0]
        size = min(1 << (num_pages - 1).bit_length(), max(num_pages, max_pages))
        key = (grid, size)
        if key not in self._recorded and not self._record(key, pixels):
            return self._forward(pixels, grid, self._dtype)
        self._recorded.move_to_end(key)
        one = self._recorded[key]
        one.pixels[:num_pages].copy_(pixels)
        if one.graph is None:
            return self._forward(one.pixels, grid, self._dtype)[:num_pages].clone()
        one.graph.replay()
        return one.features[:num_pages].clone()  # the next replay writes over them

    def _record(self, key: tuple[Grid, int], pixels: Tensor) -> bool:
        """False when this one is not (yet) worth it, or cannot be recorded."""
        self._seen[key] += 1
        if self.refused is not None or self._seen[key] <= RECORD_AFTER:
            return False
        grid, size = key
        try:
            # Made outside the graph, so that its pool never takes the memory back.
            buffer = pixels.new_full((size, *pixels.shape[1:]), 255)
            graph, features = self._captured(buffer, grid)
        except Exception as exc:  # noqa: BLE001  without a graph the page is encoded all the same
            self.refused = repr(exc)[:400]
            log.warning("vision.graphs_refused", reason=self.refused)
            self._recorded.clear()
            return False
        self._recorded[key] = _Recorded(graph, buffer, features)
        if len(self._recorded) > MAX_GRAPHS:
            del self._seen[self._recorded.popitem(last=False)[0]]
        return True

    def _captured(self, buffer: Tensor, grid: Grid) -> tuple[torch.cuda.CUDAGraph | None, Tensor]:
        if not self._replay:
            return None, buffer
        return capture(lambda: self._forward(buffer, grid, self._dtype), self._memory)
