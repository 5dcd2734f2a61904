"""Decode steps over fixed buffers, replayed as CUDA graphs. One graph per batch size and tile.

All of them are captured before the first job (`warm_up`), and none after it: a capture waits for
the whole device and empties the allocator's cache, beside answers that are running.

A graph repeats recorded kernels on recorded addresses, so every input lives in a buffer that is
filled before the replay. Rows that pad a batch write to a scratch place and see no keys. Without
capture the same buffers go through a plain forward: that is how it is tested on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glyph_worker.engine.pieces import MAX_ENTRIES, MAX_PIECES, PieceTable
from glyph_worker.model.attention import MAX_TILE, AttentionPlan, Splits
from glyph_worker.model.capture import capture as capture_graph
from glyph_worker.model.language import LanguageModel, StepInput


@dataclass(frozen=True, slots=True)
class DecodeRows:
    """One token of each decoding sequence, on the host."""

    token_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32]
    places: npt.NDArray[np.int64]
    table: PieceTable


def bucket_for(num_rows: int) -> int:
    """Smallest batch size with a graph that holds `num_rows`: 1, 2, 4, 8, then steps of 8."""
    for size in (1, 2, 4, 8):
        if num_rows <= size:
            return size
    return -(-num_rows // 8) * 8


class DecodeGraphs:
    """Runs decode-only steps of one dtype group. Belongs to the engine's thread."""

    def __init__(
        self,
        language: LanguageModel,
        pool: Tensor,
        *,
        max_rows: int,
        scratch_place: int,
        capture: bool,
        max_tile: int = MAX_TILE,
        memory: Any = None,
    ) -> None:
        """`pool` is in the group's dtype. `scratch_place` is a place of it that no sequence owns.

        `memory` is a `graph_pool_handle` to share with graphs that never run at the same time.
        """
        self._language = language
        self._pool = pool
        self._scratch = scratch_place
        self._capture = capture
        self._size = bucket_for(max_rows)
        self._max_tile = max_tile
        device = language.device
        # One buffer per integer type, so that a step costs two uploads.
        self._int_count = self._size + (self._size + 1) + MAX_ENTRIES + 4 * MAX_PIECES
        self._ints = torch.zeros(self._int_count, dtype=torch.int32, device=device)
        self._longs = torch.zeros(2 * self._size, dtype=torch.int64, device=device)
        self._longs[self._size :] = scratch_place
        pinned = device.type == "cuda"
        self._host_ints = torch.zeros(self._int_count, dtype=torch.int32, pin_memory=pinned)
        self._host_longs = torch.zeros(2 * self._size, dtype=torch.int64, pin_memory=pinned)
        # One memory pool for all graphs: they never run at the same time.
        self.memory = memory or (torch.cuda.graph_pool_handle() if capture else None)
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    @property
    def num_graphs(self) -> int:
        return len(self._graphs)

    @property
    def programs(self) -> list[tuple[int, int]]:
        """Every batch size and tile that a step may have, the largest first, so that the memory
        that graphs share grows once."""
        sizes = sorted({bucket_for(count) for count in range(1, self._size + 1)}, reverse=True)
        tiles = [1 << power for power in reversed(range(self._max_tile.bit_length()))]
        return [(size, tile) for size in sizes for tile in tiles if tile <= size]

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Compile and capture all programs. Nothing of a step's data is touched."""
        for key in self.programs:
            if self._capture and key not in self._graphs:
                self._graphs[key] = capture_graph(partial(self._forward, *key), self.memory)
            elif not self._capture:
                self._forward(*key)

    @torch.inference_mode()
    def run(self, rows: DecodeRows) -> Tensor:
        """Logits [num_rows, vocab]; valid until the next call."""
        count = len(rows.token_ids)
        bucket = bucket_for(count)
        self._fill(rows, count)
        if not self._capture:
            return self._forward(bucket, rows.table.tile)[:count]
        graph, logits = self._graphs[bucket, rows.table.tile]
        graph.replay()
        return logits[:count]

    def _fill(self, rows: DecodeRows, count: int) -> None:
        size = self._size
        longs, ints = self._host_longs.numpy(), self._host_ints.numpy()
        longs[:count] = rows.token_ids
        longs[count:size] = 0
        longs[size : size + count] = rows.places
        longs[size + count :] = self._scratch
        ints[:count] = rows.positions
        starts = ints[size : 2 * size + 1]
        starts[: count + 1] = rows.table.row_starts
        starts[count + 1 :] = rows.table.row_starts[-1]  # padding rows see nothing
        at = 2 * size + 1
        ints[at : at + MAX_ENTRIES] = rows.table.row_pieces
        ints[at + MAX_ENTRIES :] = rows.table.pieces.reshape(-1)
        self._longs.copy_(self._host_longs, non_blocking=True)
        self._ints.copy_(self._host_ints, non_blocking=True)

    def _forward(self, bucket: int, tile: int) -> Tensor:
        size, language = self._size, self._language
        at = 2 * size + 1
        splits = Splits(
            pieces=self._ints[at + MAX_ENTRIES :].view(4, MAX_PIECES),
            row_starts=self._ints[size : size + bucket + 1],
            row_pieces=self._ints[at : at + MAX_ENTRIES],
            tile=tile,
        )
        step = StepInput(
            embeds=language.embed(self._longs[:bucket]).to(self._pool.dtype),
            positions=self._ints[:bucket].expand(3, bucket),
            places=self._longs[size : size + bucket],
            logit_rows=None,
            plan=AttentionPlan(splits=splits),
        )
        return language.forward(step, self._pool)


def decode_graphs(
    language: LanguageModel, pools: Mapping[torch.dtype, Tensor], **how: Any
) -> dict[torch.dtype, DecodeGraphs]:
    """Graphs of each dtype group, over the pool in its dtype, in memory that they share: no two of
    them ever run at the same time. `how` as `DecodeGraphs` takes it."""
    made: dict[torch.dtype, DecodeGraphs] = {}
    memory: Any = None
    for dtype, pool in pools.items():
        made[dtype] = DecodeGraphs(language, pool, memory=memory, **how)
        memory = made[dtype].memory
    return made
