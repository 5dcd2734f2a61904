"""Keys and values of all sequences: one tensor on the device, copies of evicted pages on the host.

Allocated once. Which token lies where is the business of `blocks` and `prefix`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glyph_worker.engine.host_tier import HostTier
from glyph_worker.engine.prefix import Move


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
        self._host = HostTier(self.tensor, block_tokens=block_tokens, num_blocks=num_host_blocks)

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
        """Do the transfers of a plan, in order; see `HostTier`."""
        self._host.carry_out(moves)
