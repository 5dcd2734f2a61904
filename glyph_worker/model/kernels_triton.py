"""The same operations as Triton kernels, for CUDA. Imported only where they are wanted.

Decoding reads keys in pieces that fill the device (flash decoding): one program per piece and KV
head computes a partial attention for all rows and query heads that see the piece, a second kernel
merges each row's parts by their log-sum-exp. A piece shared by many questions is read once for all.
Loops and offsets are 64 bit where they count bytes of the pool.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def, import-not-found, import-untyped"
# mypy: disable-error-code="no-untyped-call, misc"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from glyph_worker.model.attention import AttentionPlan, Splits, attend
from glyph_worker.model.kernel_tiles import piece_loop
from glyph_worker.model.kernels import HeadNorms, TorchKernels, Turns
from glyph_worker.model.linear_triton import mixed_linear
from glyph_worker.model.norms import Norm

MERGE_PARTS = 16
"""Parts merged at a time."""


# Tables are parts of larger buffers: wherever they begin, it is the same program.
@triton.jit(do_not_specialize_on_alignment=["pieces"])
def _piece_kernel(
    heads, keys, values, pieces, part_out, part_lse,
    scale, max_pieces, heads_row_stride, pool_head_stride,
    GROUP: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    piece = tl.program_id(0)
    kv_head = tl.program_id(1)
    first = tl.load(pieces + piece)
    count = tl.load(pieces + max_pieces + piece)
    start = tl.load(pieces + 2 * max_pieces + piece)
    end = tl.load(pieces + 3 * max_pieces + piece)
    if end > start:
        m = tl.arange(0, BLOCK_M)
        d = tl.arange(0, DIM)
        n = tl.arange(0, BLOCK_N)
        row = m // GROUP
        here = row < count
        q_offset = (first + row) * heads_row_stride + (kv_head * GROUP + m % GROUP) * DIM
        q = tl.load(heads + q_offset[:, None] + d[None, :], mask=here[:, None], other=0.0)
        base = kv_head.to(tl.int64) * pool_head_stride
        highest = tl.full([BLOCK_M], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        acc = tl.zeros([BLOCK_M, DIM], tl.float32)
        for at in range(start, end, BLOCK_N):
            place = at + n
            valid = place < end
            offset = base + place.to(tl.int64)[:, None] * DIM + d[None, :]
            k = tl.load(keys + offset, mask=valid[:, None], other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            scores = tl.where(valid[None, :], scores, float("-inf"))
            top = tl.maximum(highest, tl.max(scores, axis=1))
            weights = tl.exp(scores - top[:, None])
            fade = tl.exp(highest - top)
            v = tl.load(values + offset, mask=valid[:, None], other=0.0)
            acc = acc * fade[:, None]
            acc += tl.dot(weights.to(v.dtype), v, input_precision="ieee")
            total = total * fade + tl.sum(weights, axis=1)
            highest = top
        out_row = (piece * tl.num_programs(1) + kv_head).to(tl.int64) * (ROWS * GROUP) + m
        inside = m < ROWS * GROUP
        tl.store(
            part_out + out_row[:, None] * DIM + d[None, :],
            acc / total[:, None],
            mask=inside[:, None],
        )
        tl.store(part_lse + out_row, highest + tl.log(total), mask=inside)


@triton.jit(do_not_specialize_on_alignment=["pieces", "row_starts", "row_pieces"])
def _merge_kernel(
    out, pieces, row_starts, row_pieces, part_out, part_lse, num_kv,
    GROUP: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    head = tl.program_id(1)
    kv_head = head // GROUP
    begin = tl.load(row_starts + row)
    end = tl.load(row_starts + row + 1)
    d = tl.arange(0, DIM)
    p = tl.arange(0, PARTS)
    highest = tl.full([1], -1e30, tl.float32)
    total = tl.zeros([1], tl.float32)
    acc = tl.zeros([DIM], tl.float32)
    for at in range(begin, end, PARTS):
        valid = at + p < end
        piece = tl.load(row_pieces + at + p, mask=valid, other=0)
        local = row - tl.load(pieces + piece, mask=valid, other=0)
        line = (piece * num_kv + kv_head).to(tl.int64) * (ROWS * GROUP)
        line += local * GROUP + head % GROUP
        lse = tl.load(part_lse + line, mask=valid, other=-1e30)
        top = tl.maximum(highest, tl.max(lse, axis=0))
        weights = tl.where(valid, tl.exp(lse - top), 0.0)
        fade = tl.exp(highest - top)
        part = tl.load(part_out + line[:, None] * DIM + d[None, :], mask=valid[:, None], other=0.0)
        acc = acc * fade + tl.sum(part * weights[:, None], axis=0)
        total = total * fade + tl.sum(weights, axis=0)
        highest = top
    # A padding row has no parts: its output is zero and nobody reads it.
    result = acc / tl.where(total > 0.0, total, 1.0)
    tl.store(out + (row * tl.num_programs(1) + head) * DIM + d, result.to(out.dtype.element_ty))


@triton.jit(do_not_specialize_on_alignment=["places"])
def _rotate_store_kernel(
    heads, turns, places, keys, values, query_norm, key_norm, query_eps, key_eps,
    num_q, num_kv, pool_head_stride,
    DIM: tl.constexpr, PAIRS: tl.constexpr, BLOCK_PAIRS: tl.constexpr,
    STEP: tl.constexpr, APART: tl.constexpr, HAS_NORMS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    head = tl.program_id(1)
    line = heads + (row * tl.num_programs(1) + head) * DIM
    place = tl.load(places + row).to(tl.int64)
    if head < num_q + num_kv:
        i = tl.arange(0, BLOCK_PAIRS)
        inside = i < PAIRS
        cos = tl.load(turns + (row * PAIRS + i) * 2, mask=inside, other=1.0)
        sin = tl.load(turns + (row * PAIRS + i) * 2 + 1, mask=inside, other=0.0)
        # Neighbours (2 i, 2 i + 1), or halves (i, i + pairs).
        first, second = STEP * i, STEP * i + APART
        one = tl.load(line + first, mask=inside, other=0.0).to(tl.float32)
        two = tl.load(line + second, mask=inside, other=0.0).to(tl.float32)
        d = tl.arange(0, DIM)
        behind = d >= 2 * PAIRS
        rest = tl.load(line + d, mask=behind, other=0.0).to(tl.float32)
        if HAS_NORMS:
            asks = head < num_q
            squares = tl.sum(one * one, axis=0) + tl.sum(two * two, axis=0)
            squares += tl.sum(rest * rest, axis=0)
            size = tl.rsqrt(squares / DIM + tl.where(asks, query_eps, key_eps))
            w_one = tl.where(
                asks,
                tl.load(query_norm + first, mask=inside, other=0.0).to(tl.float32),
                tl.load(key_norm + first, mask=inside, other=0.0).to(tl.float32),
            )
            w_two = tl.where(
                asks,
                tl.load(query_norm + second, mask=inside, other=0.0).to(tl.float32),
                tl.load(key_norm + second, mask=inside, other=0.0).to(tl.float32),
            )
            w_rest = tl.where(
                asks,
                tl.load(query_norm + d, mask=behind, other=0.0).to(tl.float32),
                tl.load(key_norm + d, mask=behind, other=0.0).to(tl.float32),
            )
            one, two, rest = one * size * w_one, two * size * w_two, rest * size * w_rest
            tl.store(line + d, rest.to(heads.dtype.element_ty), mask=behind)
        turned_one = (one * cos - two * sin).to(heads.dtype.element_ty)
        turned_two = (two * cos + one * sin).to(heads.dtype.element_ty)
        tl.store(line + first, turned_one, mask=inside)
        tl.store(line + second, turned_two, mask=inside)
        if head >= num_q:
            into = keys + (head - num_q).to(tl.int64) * pool_head_stride + place * DIM
            tl.store(into + first, turned_one, mask=inside)
            tl.store(into + second, turned_two, mask=inside)
            tl.store(into + d, rest.to(keys.dtype.element_ty), mask=behind)
    else:
        d = tl.arange(0, DIM)
        into = values + (head - num_q - num_kv).to(tl.int64) * pool_head_stride + place * DIM
        tl.store(into + d, tl.load(line + d))


@triton.jit
def _add_norms_kernel(
    hidden, change, inner, outer, sum_out, norm_out, inner_eps, outer_eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, HAS_INNER: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < WIDTH
    c = tl.load(change + row * WIDTH + i, mask=inside, other=0.0).to(tl.float32)
    if HAS_INNER:
        c = c * tl.rsqrt(tl.sum(c * c, axis=0) / WIDTH + inner_eps)
        c = c * tl.load(inner + i, mask=inside, other=0.0).to(tl.float32)
    h = tl.load(hidden + row * WIDTH + i, mask=inside, other=0.0).to(tl.float32)
    # Rounded to the stored dtype first: the norm sees what the next layer sees.
    h = (h + c).to(sum_out.dtype.element_ty)
    tl.store(sum_out + row * WIDTH + i, h, mask=inside)
    h = h.to(tl.float32)
    h = h * tl.rsqrt(tl.sum(h * h, axis=0) / WIDTH + outer_eps)
    h = h * tl.load(outer + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(norm_out + row * WIDTH + i, h.to(norm_out.dtype.element_ty), mask=inside)


@triton.jit
def _gate_kernel(gate_up, wide, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    gate = tl.load(gate_up + row * 2 * width + i, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(
        wide + row * width + i,
        (up * gate * tl.sigmoid(gate)).to(wide.dtype.element_ty),
        mask=inside,
    )


class TritonKernels:
    """Fused kernels for CUDA; decoding rows by pieces, prefilled chunks through torch.

    Norms' weights may have another dtype than the activations: a bfloat16 group is served by the
    same kernels over the same float16 weights.
    """

    name = "triton"

    def __init__(self) -> None:
        self._plain = TorchKernels()
        self._parts: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def rotate_and_store(
        self,
        heads: Tensor,
        norms: HeadNorms | None,
        turns: Turns | None,
        places: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> None:
        num_rows, num_all, dim = heads.shape
        if turns is None or _is_odd(dim):
            self._plain.rotate_and_store(heads, norms, turns, places, keys, values)
            return
        num_kv, pairs = keys.shape[0], turns.turns.shape[-1]
        _rotate_store_kernel[(num_rows, num_all)](
            heads, torch.view_as_real(turns.turns), places, keys, values,
            heads if norms is None else norms.query.weight,
            heads if norms is None else norms.key.weight,
            0.0 if norms is None else norms.query.eps, 0.0 if norms is None else norms.key.eps,
            num_all - 2 * num_kv, num_kv, keys.stride(0),
            DIM=dim, PAIRS=pairs, BLOCK_PAIRS=triton.next_power_of_2(pairs),
            STEP=1 if turns.halves else 2, APART=pairs if turns.halves else 1,
            HAS_NORMS=norms is not None, num_warps=1,
        )  # fmt: skip

    def add_norms(
        self, hidden: Tensor, change: Tensor, inner: Norm | None, outer: Norm
    ) -> tuple[Tensor, Tensor]:
        if outer.centred:
            return self._plain.add_norms(hidden, change, inner, outer)
        num_rows, width = hidden.shape
        total, normed = torch.empty_like(hidden), torch.empty_like(hidden)
        _add_norms_kernel[(num_rows,)](
            hidden, change, outer.weight if inner is None else inner.weight, outer.weight,
            total, normed, 0.0 if inner is None else inner.eps, outer.eps,
            WIDTH=width, BLOCK=triton.next_power_of_2(width), HAS_INNER=inner is not None,
            num_warps=8 if width > 2048 else 4,
        )  # fmt: skip
        return total, normed

    def gate(self, gate_up: Tensor, activation: Any) -> Tensor:
        if not _is_silu(activation):
            return self._plain.gate(gate_up, activation)
        num_rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        wide = gate_up.new_empty((num_rows, width))
        _gate_kernel[(num_rows, triton.cdiv(width, 1024))](gate_up, wide, width, BLOCK=1024)
        return wide

    def mixed_linear(
        self, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        return mixed_linear(x, weight, scale, bias)

    def attend(
        self, heads: Tensor, keys: Tensor, values: Tensor, plan: AttentionPlan, scale: float
    ) -> Tensor:
        splits = plan.splits
        if splits is None or _is_odd(heads.shape[-1]):
            return self._plain.attend(heads, keys, values, plan, scale)
        num_rows = splits.row_starts.shape[0] - 1
        decoded = self.attend_splits(heads[:num_rows], keys, values, splits, scale)
        if num_rows == heads.shape[0]:
            return decoded
        rest = attend(heads[num_rows:], keys, values, plan, scale=scale)
        return torch.cat([decoded, rest])

    def attend_splits(
        self, heads: Tensor, keys: Tensor, values: Tensor, splits: Splits, scale: float
    ) -> Tensor:
        """The decoding rows' attention, [num_rows, num_heads * dim]."""
        num_kv = keys.shape[0]
        num_rows, num_heads, dim = heads.shape[0], heads.shape[1] - 2 * num_kv, heads.shape[2]
        group, max_pieces = num_heads // num_kv, splits.pieces.shape[1]
        loop = piece_loop(keys.element_size())
        part_out, part_lse = self._parts_for(max_pieces, num_kv, splits.tile * group, dim, keys)
        _piece_kernel[(max_pieces, num_kv)](
            heads, keys, values, splits.pieces, part_out, part_lse,
            scale, max_pieces, heads.stride(0), keys.stride(0),
            GROUP=group, DIM=dim, ROWS=splits.tile,
            BLOCK_M=max(16, triton.next_power_of_2(splits.tile * group)), BLOCK_N=loop.keys,
            num_warps=8 if splits.tile * group > 64 else 4, num_stages=loop.stages,
        )  # fmt: skip
        out = heads.new_empty((num_rows, num_heads * dim))
        _merge_kernel[(num_rows, num_heads)](
            out, splits.pieces, splits.row_starts, splits.row_pieces, part_out, part_lse, num_kv,
            GROUP=group, DIM=dim, ROWS=splits.tile, PARTS=MERGE_PARTS, num_warps=4,
        )  # fmt: skip
        return out

    def _parts_for(
        self, max_pieces: int, num_kv: int, lines: int, dim: int, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Room for partial results, kept: layers run one after another and may share it."""
        key = (max_pieces, num_kv, lines, dim)
        if key not in self._parts:
            shape = (max_pieces, num_kv, lines)
            self._parts[key] = (
                torch.empty((*shape, dim), dtype=torch.float32, device=like.device),
                torch.empty(shape, dtype=torch.float32, device=like.device),
            )
        return self._parts[key]


def _is_odd(dim: int) -> bool:
    """A head these kernels cannot span: 80 is BLIP-2's."""
    return dim & (dim - 1) != 0


def _is_silu(activation: Any) -> bool:
    return type(activation).__name__ in {"SiLU", "SiLUActivation"}
