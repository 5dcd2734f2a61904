"""The few operations between matrices that a device may do its own way. The torch reference.

`TritonKernels` has the same methods; the self-test at load compares them with the library.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from glyph_worker.model.attention import AttentionPlan, attend, attend_splits
from glyph_worker.model.vision import rms_norm


class Kernels(Protocol):
    """What a language layer needs between its matrices."""

    name: str

    def rotate_and_store(
        self, heads: Tensor, turns: Tensor, places: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        """Turn queries and keys in place, and copy keys and values to their places in the pool.

        heads [num_rows, num_heads + 2 * num_kv_heads, dim]; turns complex64 [num_rows, 1, pairs];
        places int64 [num_rows]; keys, values [num_kv_heads, pool_tokens, dim].
        """

    def add_norms(self, hidden: Tensor, change: Tensor, inner: Any, outer: Any) -> Any:
        """hidden + inner(change), and outer of that. All [num_rows, hidden]."""

    def gate(self, gate_up: Tensor, activation: Any) -> Tensor:
        """up * activation(gate): [num_rows, 2 * width] to [num_rows, width]."""

    def attend(
        self, heads: Tensor, keys: Tensor, values: Tensor, plan: AttentionPlan, scale: float
    ) -> Tensor:
        """Attention of one layer, [num_rows, num_heads * dim]; the pool holds this step's keys."""


class TorchKernels:
    """Plain torch, for any device and dtype."""

    name = "torch"
    fused = True

    def rotate_and_store(
        self, heads: Tensor, turns: Tensor, places: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        num_kv = keys.shape[0]
        rotate_pairs_(heads[:, :-num_kv], turns)
        keys.index_copy_(1, places, heads[:, -2 * num_kv : -num_kv].transpose(0, 1))
        values.index_copy_(1, places, heads[:, -num_kv:].transpose(0, 1))

    def add_norms(self, hidden: Tensor, change: Tensor, inner: Any, outer: Any) -> Any:
        hidden = hidden + rms_norm(change, inner)
        return hidden, rms_norm(hidden, outer)

    def gate(self, gate_up: Tensor, activation: Any) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        wide: Tensor = up * activation(gate)
        return wide

    def attend(
        self, heads: Tensor, keys: Tensor, values: Tensor, plan: AttentionPlan, scale: float
    ) -> Tensor:
        splits = plan.splits
        if splits is None:
            return attend(heads, keys, values, plan, scale=scale, fused=self.fused)
        num_rows = splits.row_starts.shape[0] - 1
        decoded = attend_splits(heads[:num_rows], keys, values, splits, scale=scale)
        if num_rows == heads.shape[0]:
            return decoded
        rest = attend(heads[num_rows:], keys, values, plan, scale=scale, fused=self.fused)
        return torch.cat([decoded, rest])


class PlainKernels(TorchKernels):
    """Attention as two matrix products with every score in memory: what fusing is measured by."""

    name = "plain"
    fused = False


def rotate_pairs_(heads: Tensor, turns: Tensor) -> None:
    """Turn neighbouring pairs of the leading rotary dimensions in place.

    heads [num_rows, num_heads, dim] (a view is fine), turns complex [num_rows, 1, rotary_dim / 2].
    """
    rotary = heads[..., : 2 * turns.shape[-1]]
    pairs = (*rotary.shape[:-1], turns.shape[-1], 2)
    if heads.dtype == torch.float32:
        torch.view_as_complex(rotary.view(pairs)).mul_(turns)
        return
    turned = torch.view_as_complex(rotary.float().view(pairs)) * turns
    rotary.copy_(torch.view_as_real(turned).flatten(-2))
