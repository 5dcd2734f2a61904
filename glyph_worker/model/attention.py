"""Attention over shared and private keys, in parts merged by log-sum-exp. The torch reference.

A row (one token of a step) sees three kinds of keys: tokens of a prefix that it shares with other
rows, earlier tokens of its own sequence, and itself with what came just before it in this step.
Each part is one partial attention with its log-sum-exp; parts of a row are merged exactly:
softmax over the union equals the parts weighted by exp(lse_part - lse_total) (flash decoding).
No key is copied per row, and no mask is materialised for shared keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_TILE = 8
"""Most rows whose query heads share one program of the split kernel."""

Extent = tuple[int, int]
"""Half-open range of token places in the KV pool."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Rows that all see the same keys, whole: no mask."""

    rows: slice
    extents: tuple[Extent, ...]
    level: int
    """Which of its rows' parts the first extent is; extents take consecutive levels."""
    places: Tensor | None = None
    """int64 [num_tokens]: instead of extents, when they lie in too many pieces."""

    @property
    def num_levels(self) -> int:
        return len(self.extents) if self.places is None else 1


@dataclass(frozen=True, slots=True)
class Causal:
    """Consecutive tokens of one sequence, seeing themselves and those before them in the step."""

    rows: slice
    level: int


@dataclass(frozen=True, slots=True)
class Private:
    """One row per sequence, each over its own short list of token places."""

    rows: slice
    places: Tensor
    """int64 [num_rows, longest], padded with any valid place."""
    bias: Tensor
    """float [num_rows, 1, 1, longest]: 0 where a place counts, -inf where it pads."""
    level: int


@dataclass(frozen=True, slots=True)
class Splits:
    """The decoding rows' keys as a list of small pieces, for the kernel that takes one each.

    A piece is a range of pool places and the neighbouring rows that all see it. Its queries are
    `tile` rows by the query heads of one KV head. Unused pieces have start == end. All int32; the
    capacities are fixed, so that a CUDA graph can be replayed with other contents.
    """

    pieces: Tensor
    """[4, max_pieces]: first row, number of rows, first place, end place."""
    row_starts: Tensor
    """[num_rows + 1]: each row's range in `row_pieces`."""
    row_pieces: Tensor
    """[max_entries]: piece numbers, row by row."""
    tile: int
    """Most rows of a piece."""


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """Which rows see which keys in one step. Every row has a part at level 0."""

    shared: tuple[Shared, ...] = ()
    causal: tuple[Causal, ...] = ()
    private: Private | None = None
    num_levels: int = 1
    splits: Splits | None = None
    """Covers the first rows of the step instead; the others count from after them."""


def partial_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    causal: bool = False,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of q over k, v and the log-sum-exp of its scores.

    q [batch, heads, num_q, dim], k and v [batch, heads, num_k, dim]; causal needs num_q == num_k.
    Returns output [batch, heads, num_q, dim] in q's dtype and float32 lse [batch, heads, num_q].
    """
    k, v = k.to(q.dtype), v.to(q.dtype)
    if q.device.type == "cpu" and q.dtype == torch.float32:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=bias, scale=scale
        )
        return out, lse
    if q.device.type == "cuda" and bias is None and q.dtype in (torch.float16, torch.bfloat16):
        found = torch.ops.aten._scaled_dot_product_flash_attention(
            q, k, v, 0.0, causal, False, scale=scale
        )
        return found[0], found[1][..., : q.shape[2]]
    if q.device.type == "cuda" and bias is None and q.dtype == torch.float32:
        found = torch.ops.aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True, 0.0, causal, scale=scale
        )
        return found[0], found[1][..., : q.shape[2]]
    return plain_attention(q, k, v, scale=scale, causal=causal, bias=bias)


def plain_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    causal: bool = False,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same by matrix products in float32: for any device and dtype, and to test against."""
    scores = (q.float() @ k.float().transpose(-1, -2)) * scale
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    if bias is not None:
        scores = scores + bias.float()
    lse = torch.logsumexp(scores, dim=-1)
    weights = (scores - lse.unsqueeze(-1)).exp()
    return (weights @ v.float()).to(q.dtype), lse


def attend(
    heads: Tensor,
    keys: Tensor,
    values: Tensor,
    plan: AttentionPlan,
    *,
    scale: float,
    fused: bool = True,
) -> Tensor:
    """Attention of one layer for all rows of a step; this step's keys are in the pool already.

    heads [num_rows, num_heads + 2 * num_kv_heads, dim] holds queries, then this step's keys, then
    its values; keys and values [num_kv_heads, pool_tokens, dim]. Returns [num_rows, num_heads *
    dim].
    """
    partial = partial_attention if fused else plain_attention
    num_kv = keys.shape[0]
    num_rows, num_heads, dim = heads.shape[0], heads.shape[1] - 2 * num_kv, heads.shape[2]
    q, new_k, new_v = heads[:, :num_heads], heads[:, num_heads:-num_kv], heads[:, -num_kv:]
    group = num_heads // num_kv
    # The query heads of a KV head become query rows: [num_kv, num_rows, group, dim].
    folded = q.reshape(num_rows, num_kv, group, dim).transpose(0, 1).contiguous()
    parts = folded.new_zeros((plan.num_levels, num_kv, num_rows, group, dim))
    lses = folded.new_full(
        (plan.num_levels, num_kv, num_rows, group), float("-inf"), dtype=torch.float32
    )

    def put(level: int, rows: slice, out: Tensor, lse: Tensor) -> None:
        parts[level, :, rows] = out.view(num_kv, -1, group, dim)
        lses[level, :, rows] = lse.view(num_kv, -1, group)

    for shared in plan.shared:
        asked = folded[:, shared.rows].flatten(1, 2).unsqueeze(0)  # [1, num_kv, rows * group, dim]
        if shared.places is not None:
            found_k = keys.index_select(1, shared.places).unsqueeze(0)
            found_v = values.index_select(1, shared.places).unsqueeze(0)
            put(
                shared.level,
                shared.rows,
                *partial(asked, found_k, found_v, scale=scale),
            )
        for offset, (start, end) in enumerate(shared.extents):
            out, lse = partial(
                asked,
                keys[:, start:end].unsqueeze(0),
                values[:, start:end].unsqueeze(0),
                scale=scale,
            )
            put(shared.level + offset, shared.rows, out, lse)
    for item in plan.causal:
        # One query head at a time per KV head keeps "row i sees keys up to i" a plain triangle.
        asked = folded[:, item.rows].transpose(1, 2).reshape(1, num_heads, -1, dim)
        own_k = new_k[item.rows].transpose(0, 1).repeat_interleave(group, 0).unsqueeze(0)
        own_v = new_v[item.rows].transpose(0, 1).repeat_interleave(group, 0).unsqueeze(0)
        out, lse = partial(asked, own_k, own_v, scale=scale, causal=True)
        out = out.reshape(num_kv, group, -1, dim).transpose(1, 2)
        lse = lse.reshape(num_kv, group, -1).transpose(1, 2)
        parts[item.level, :, item.rows] = out
        lses[item.level, :, item.rows] = lse
    if (private := plan.private) is not None:
        asked = folded[:, private.rows].transpose(0, 1)  # [rows, num_kv, group, dim]
        shape = (num_kv, *private.places.shape, dim)
        places = private.places.flatten()
        own_k = keys.index_select(1, places).view(shape).transpose(0, 1)
        own_v = values.index_select(1, places).view(shape).transpose(0, 1)
        out, lse = partial(asked, own_k, own_v, scale=scale, bias=private.bias)
        parts[private.level, :, private.rows] = out.transpose(0, 1)
        lses[private.level, :, private.rows] = lse.transpose(0, 1)
    merged = parts[0]
    if plan.num_levels > 1:
        weights = torch.softmax(lses, dim=0).unsqueeze(-1)
        merged = (parts * weights).sum(dim=0).to(q.dtype)
    return merged.transpose(0, 1).reshape(num_rows, num_heads * dim)


def attend_splits(
    heads: Tensor, keys: Tensor, values: Tensor, splits: Splits, *, scale: float
) -> Tensor:
    """What the split kernel computes, piece by piece: [num_rows, num_heads * dim]."""
    num_kv = keys.shape[0]
    num_rows, num_heads, dim = heads.shape[0], heads.shape[1] - 2 * num_kv, heads.shape[2]
    group = num_heads // num_kv
    total = heads.new_zeros((num_rows, num_heads, dim), dtype=torch.float32)
    running = heads.new_full((num_rows, num_heads), float("-inf"), dtype=torch.float32)
    for first, count, start, end in splits.pieces.T.tolist():
        if start == end:
            continue
        asked = heads[first : first + count, :num_heads].reshape(count, num_kv, group, dim)
        asked = asked.transpose(0, 1).reshape(1, num_kv, count * group, dim)
        out, lse = plain_attention(
            asked.float(), keys[None, :, start:end], values[None, :, start:end], scale=scale
        )
        out = out.view(num_kv, count, group, dim).transpose(0, 1).reshape(count, num_heads, dim)
        lse = lse.view(num_kv, count, group).transpose(0, 1).reshape(count, num_heads)
        rows = slice(first, first + count)
        merged = torch.logaddexp(running[rows], lse)
        total[rows] = total[rows] * (running[rows] - merged).exp().unsqueeze(-1) + out * (
            lse - merged
        ).exp().unsqueeze(-1)
        running[rows] = merged
    return total.to(heads.dtype).view(num_rows, num_heads * dim)
