"""Keys and values of all sequences: one tensor on the device, copies of evicted pages on the host.

Allocated once. Which token lies where is the business of `blocks` and `prefix`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glyph_worker.engine.blocks import BlockRange
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
        num_host_blocks: int,
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
        pinned = device.type == "cuda" and num_host_blocks > 0
        host_shape = (*shape[:3], num_host_blocks * block_tokens, head_dim)
        self._host = torch.empty(host_shape, dtype=dtype, pin_memory=pinned)

    @staticmethod
    def bytes_per_token(
        *, num_layers: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype
    ) -> int:
        return num_layers * 2 * num_kv_heads * head_dim * dtype.itemsize

    @property
    def num_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()

    def view(self, dtype: torch.dtype) -> Tensor:
        """The pool as another dtype of the same width, for the bfloat16 fallback."""
        return self.tensor if dtype == self.tensor.dtype else self.tensor.view(dtype)

    def carry_out(self, moves: list[Move]) -> None:
        """Do the transfers of a plan, in order.

        Not awaited: a block is written again only by later work on this same stream.
        """
        for move in moves:
            device = self._pieces(self.tensor, move.runs)
            host = self._pieces(self._host, move.host_runs)
            pairs = _matched(device, host)
            for here, there in pairs:
                if move.kind is MoveKind.OFFLOAD:
                    there.copy_(here, non_blocking=True)
                else:
                    here.copy_(there, non_blocking=True)

    def _pieces(self, tensor: Tensor, runs: tuple[BlockRange, ...]) -> list[Tensor]:
        size = self.block_tokens
        return [tensor[:, :, :, run[0] * size : (run[0] + run[1]) * size] for run in runs]


def _matched(one: list[Tensor], other: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Cut two lists of equal total length (in dimension 3) so that pieces pair up."""
    out: list[tuple[Tensor, Tensor]] = []
    left, right = list(one), list(other)
    while left:
        size = min(left[0].shape[3], right[0].shape[3])
        out.append((left[0][:, :, :, :size], right[0][:, :, :, :size]))
        for side in (left, right):
            if side[0].shape[3] == size:
                side.pop(0)
            else:
                side[0] = side[0][:, :, :, size:]
    return out
