"""Keys and values of all sequences: one tensor on the device, copies of evicted pages on the host.

Allocated once. Which token lies where is the business of `blocks` and `prefix`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glyph_worker.engine.blocks import Run
from glyph_worker.engine.prefix import Move, MoveKind


class KVPool:
    """[num_layers, 2, num_kv_heads, num_blocks * block_tokens, head_dim] and a host tier."""

    def __init__(
        self,
        *,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        num_blocks: int,
        block_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.block_tokens = block_tokens
        self.num_blocks = num_blocks
        shape = (num_layers, 2, num_kv_heads, num_blocks * block_tokens, head_dim)
        # Zeroed on CUDA, where a kernel may read a padding place and must not meet NaN; on the CPU
        # nothing ever reads a place before writing it, and untouched memory costs nothing.
        make = torch.zeros if device.type == "cuda" else torch.empty
        self.tensor: Tensor = make(shape, dtype=dtype, device=device)
        self._host: dict[int, Tensor] = {}

    @staticmethod
    def bytes_per_token(
        *, num_layers: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype
    ) -> int:
        return num_layers * 2 * num_kv_heads * head_dim * dtype.itemsize

    @property
    def num_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()

    @property
    def num_host_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self._host.values())

    def view(self, dtype: torch.dtype) -> Tensor:
        """The pool as another dtype of the same width, for the bfloat16 fallback."""
        return self.tensor if dtype == self.tensor.dtype else self.tensor.view(dtype)

    def carry_out(self, moves: list[Move]) -> None:
        """Do the transfers of a plan, in order."""
        for move in moves:
            if move.kind is MoveKind.OFFLOAD:
                self._host[move.node.ident] = self._to_host(move.runs)
            elif move.kind is MoveKind.RESTORE:
                self._restore(self._host[move.node.ident], move.runs)
            else:
                self._host.pop(move.node.ident, None)

    def _to_host(self, runs: tuple[Run, ...]) -> Tensor:
        parts = [self._slice(run) for run in runs]
        size = sum(part.shape[3] for part in parts)
        first = parts[0]
        pinned = first.device.type == "cuda"
        shape = (*first.shape[:3], size, first.shape[4])
        copy = torch.empty(shape, dtype=first.dtype, pin_memory=pinned)
        start = 0
        for part in parts:
            # Not awaited: the blocks are written again only by later work on this same stream.
            copy[:, :, :, start : start + part.shape[3]].copy_(part, non_blocking=pinned)
            start += part.shape[3]
        return copy

    def _restore(self, copy: Tensor, runs: tuple[Run, ...]) -> None:
        start = 0
        for run in runs:
            part = self._slice(run)
            size = part.shape[3]
            part.copy_(copy[:, :, :, start : start + size], non_blocking=True)
            start += size

    def _slice(self, run: Run) -> Tensor:
        size = self.block_tokens
        return self.tensor[:, :, :, run[0] * size : (run[0] + run[1]) * size]
