"""Copies of evicted pages in host memory: one pinned arena, a stream of its own, no copy awaited.

A page's keys lie in the pool by layer, key or value, and head: 160 pieces. They are gathered on the
device into one contiguous buffer, at the device's own speed, and cross the bus in one copy. The
engine's thread only says what is to be done: the engine's stream waits for the gathering before it
writes over the blocks, and for the scattering before it reads them, never for the bus on the way
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from glyph_worker.engine.blocks import BlockRange
from glyph_worker.engine.prefix import Move, MoveKind

STAGED_BYTES = 64 << 20
"""Of one buffer on the device; longer moves go through it in turns, through two of them."""


class HostTier:
    """Belongs to the engine's thread."""

    def __init__(self, pool: Tensor, *, block_tokens: int, num_blocks: int) -> None:
        """`pool` [num_layers, 2, num_kv_heads, pool_tokens, head_dim]."""
        self._pool = pool
        self._size = block_tokens
        layers, two, heads, _, dim = pool.shape
        shape = (layers, two, heads, block_tokens, dim)
        block_bytes = layers * two * heads * block_tokens * dim * pool.element_size()
        self._staged_blocks = max(1, min(num_blocks, STAGED_BYTES // block_bytes))
        cuda = pool.device.type == "cuda"
        # Pinned once: pinning costs as much as several copies.
        self._arena = torch.empty((num_blocks, *shape), dtype=pool.dtype, pin_memory=cuda)
        self._staging = [
            torch.empty((self._staged_blocks, *shape), dtype=pool.dtype, device=pool.device)
            for _ in range(2 if num_blocks else 0)
        ]
        self._stream = torch.cuda.Stream(pool.device) if cuda and num_blocks else None  # type: ignore[no-untyped-call]
        self._turn = 0

    @torch.inference_mode()
    def carry_out(self, moves: list[Move]) -> None:
        """Give a plan's moves to the device, in order. What comes after on the engine's stream may
        use every block of them."""
        if not moves:
            return
        with self._beside():
            gathered: Any = None
            for move in moves:
                for here, there in self._pieces(move):
                    staged = self._staging[self._turn][: there[1]]
                    self._turn = (self._turn + 1) % len(self._staging)
                    arena = self._arena[there[0] : there[0] + there[1]]
                    if move.kind is MoveKind.OFFLOAD:
                        staged.copy_(self._blocks(here))
                        gathered = self._mark()
                        arena.copy_(staged, non_blocking=True)
                    else:
                        staged.copy_(arena, non_blocking=True)
                        self._blocks(here).copy_(staged)
                        gathered = self._mark()
        if gathered is not None:
            torch.cuda.current_stream(self._pool.device).wait_event(gathered)

    def _blocks(self, run: BlockRange) -> Tensor:
        """A run of the pool as [num_blocks, num_layers, 2, num_kv_heads, block_tokens, dim]."""
        start, count = run[0] * self._size, run[1] * self._size
        layers, two, heads, _, dim = self._pool.shape
        tokens = self._pool.narrow(3, start, count)
        return tokens.view(layers, two, heads, run[1], self._size, dim).movedim(3, 0)

    def _pieces(self, move: Move) -> Iterator[tuple[BlockRange, BlockRange]]:
        """Runs of equal length on both sides, none longer than the staging buffer."""
        here, there = list(move.runs), list(move.host_runs)
        while here:
            count = min(here[0][1], there[0][1], self._staged_blocks)
            yield (here[0][0], count), (there[0][0], count)
            for side in (here, there):
                start, left = side.pop(0)
                if left > count:
                    side.insert(0, (start + count, left - count))

    @contextmanager
    def _beside(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        # What the engine's stream has been given so far writes the blocks that are gathered.
        self._stream.wait_stream(torch.cuda.current_stream(self._pool.device))
        with torch.cuda.stream(self._stream):
            yield

    def _mark(self) -> Any:
        if self._stream is None:
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event
