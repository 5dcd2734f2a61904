"""The few operations between matrices that a device may do its own way. The torch reference.

`TritonKernels` has the same methods; the self-test at load compares them with the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from glyph_worker.model.attention import AttentionPlan, attend, attend_splits
from glyph_worker.model.linear import widened
from glyph_worker.model.norms import Norm


@dataclass(frozen=True, slots=True)
class Turns:
    """How a step's queries and keys are turned."""

    turns: Tensor
    """complex64 [num_rows, 1, pairs]."""
    halves: bool = False
    """Pairs are (i, i + pairs); else neighbours (2 i, 2 i + 1)."""


@dataclass(frozen=True, slots=True)
class HeadNorms:
    """Of queries and keys, over each head, before it is turned."""

    query: Norm
    key: Norm


class Kernels(Protocol):
    """What a language layer needs between its matrices."""

    name: str

    def rotate_and_store(
        self,
        heads: Tensor,
        norms: HeadNorms | None,
        turns: Turns | None,
        places: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> None:
        """Norm and turn queries and keys in place; copy keys and values to their places in the
        pool.

        heads [num_rows, num_heads + 2 * num_kv_heads, dim]; `turns` None turns nothing;
        places int64 [num_rows]; keys, values [num_kv_heads, pool_tokens, dim].
        """

    def add_norms(
        self, hidden: Tensor, change: Tensor, inner: Norm | None, outer: Norm
    ) -> tuple[Tensor, Tensor]:
        """hidden + inner(change), and outer of that. All [num_rows, hidden]."""

    def gate(self, gate_up: Tensor, activation: Any) -> Tensor:
        """up * activation(gate): [num_rows, 2 * width] to [num_rows, width]."""

    def mixed_linear(
        self, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """x [num_rows, inputs] by a weight [outputs, inputs] of another dtype, in x's dtype.

        scale float32 [outputs] multiplies each output before bias [outputs] is added.
        """

    def attend(
        self, heads: Tensor, keys: Tensor, values: Tensor, plan: AttentionPlan, scale: float
    ) -> Tensor:
        """Attention of one layer, [num_rows, num_heads * dim]; the pool holds this step's keys."""


class TorchKernels:
    """Plain torch, for any device and dtype."""

    name = "torch"
    fused = True

    def rotate_and_store(
        self,
        heads: Tensor,
        norms: HeadNorms | None,
        turns: Turns | None,
        places: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> None:
        num_kv = keys.shape[0]
        if norms is not None:
            heads[:, : -2 * num_kv] = norms.query(heads[:, : -2 * num_kv])
            heads[:, -2 * num_kv : -num_kv] = norms.key(heads[:, -2 * num_kv : -num_kv])
        if turns is not None:
            rotate = rotate_halves_ if turns.halves else rotate_pairs_
            rotate(heads[:, :-num_kv], turns.turns)
        # The pool may be narrower than a step that computes in float32.
        new_keys, new_values = heads[:, -2 * num_kv : -num_kv], heads[:, -num_kv:]
        keys.index_copy_(1, places, new_keys.transpose(0, 1).to(keys.dtype))
        values.index_copy_(1, places, new_values.transpose(0, 1).to(values.dtype))

    def add_norms(
        self, hidden: Tensor, change: Tensor, inner: Norm | None, outer: Norm
    ) -> tuple[Tensor, Tensor]:
        hidden = hidden + (change if inner is None else inner(change))
        return hidden, outer(hidden)

    def gate(self, gate_up: Tensor, activation: Any) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        wide: Tensor = up * activation(gate)
        return wide

    def mixed_linear(
        self, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        return widened(x, weight, scale, bias)

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


def rotate_halves_(heads: Tensor, turns: Tensor) -> None:
    """Turn the pairs (i, i + pairs) of the leading rotary dimensions in place; shapes as above."""
    pairs = turns.shape[-1]
    one, two = heads[..., :pairs].float(), heads[..., pairs : 2 * pairs].float()
    cos, sin = turns.real, turns.imag
    turned = torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)
    heads[..., : 2 * pairs] = turned.to(heads.dtype)
