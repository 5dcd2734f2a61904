"""Products with weights in another format than the activations', widened on the way. For CUDA.

8-bit weights with a scale per output, and float16 weights under bfloat16 activations: each weight
is read once in its own format and widened in registers, so no widened matrix ever stands in memory
and a decode step is bound by the bytes of the narrow one.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def, import-not-found, import-untyped"
# mypy: disable-error-code="no-untyped-call, misc"

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

GROUP_ROWS = 8
"""Tiles of rows that share their reading of a weight's tile through the cache."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a product is cut: rows, outputs and inputs of one tile."""

    rows: int
    outputs: int
    inputs: int
    warps: int
    stages: int


def tiles_for(num_rows: int, num_outputs: int, itemsize: int) -> Tiles:
    """By the number of rows, and the activations' bytes per number.

    Few rows are a decode step, bound by reading weights: narrow tiles, so that every multiprocessor
    reads (an H200 has 132), and many inputs at once. Many rows are a prefill, bound by products.
    float32 activations are for tests and the fallback: half the inputs, to fit the shared memory.
    """
    inputs = 128 if itemsize == 2 else 64
    if num_rows <= 16:
        return Tiles(16, 16 if num_outputs <= 8_192 else 32, inputs, 4, 4)
    if num_rows <= 64:
        return Tiles(64 if num_rows > 32 else 32, 64, inputs // 2, 4, 3)
    if itemsize == 4:
        return Tiles(64, 64, 32, 4, 3)
    return Tiles(128, 128, 64, 8, 3)


# Chunks have any number of rows: it is one program for all that share their tiles.
@triton.jit(do_not_specialize=["num_rows"])
def _mixed_kernel(
    x, weight, scale, bias, out, num_rows, num_outputs, num_inputs,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, INPUTS: tl.constexpr, GROUP: tl.constexpr,
    HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    # Programs go down a group of row tiles before they move on to the next outputs.
    row_tiles = tl.cdiv(num_rows, ROWS)
    output_tiles = tl.cdiv(num_outputs, OUTPUTS)
    program = tl.program_id(0)
    first = program // (GROUP * output_tiles) * GROUP
    height = tl.minimum(row_tiles - first, GROUP)
    m = (first + program % (GROUP * output_tiles) % height) * ROWS + tl.arange(0, ROWS)
    n = program % (GROUP * output_tiles) // height * OUTPUTS + tl.arange(0, OUTPUTS)
    k = tl.arange(0, INPUTS)
    rows_here = m < num_rows
    outputs_here = n < num_outputs
    x_line = x + m.to(tl.int64)[:, None] * num_inputs
    weight_line = weight + n.to(tl.int64)[:, None] * num_inputs
    acc = tl.zeros([ROWS, OUTPUTS], tl.float32)
    for at in range(0, num_inputs, INPUTS):
        i = at + k
        inside = i < num_inputs
        a = tl.load(x_line + i[None, :], mask=rows_here[:, None] & inside[None, :], other=0.0)
        b = tl.load(weight_line + i[None, :], mask=outputs_here[:, None] & inside[None, :], other=0)
        if not HAS_SCALE:  # float16 to bfloat16; integers are exact in either
            b = b.to(tl.float32)
        acc += tl.dot(a, tl.trans(b.to(a.dtype)), input_precision="ieee")
    if HAS_SCALE:
        acc = acc * tl.load(scale + n, mask=outputs_here, other=0.0)[None, :]
    if HAS_BIAS:
        acc = acc + tl.load(bias + n, mask=outputs_here, other=0.0).to(tl.float32)[None, :]
    tl.store(
        out + m.to(tl.int64)[:, None] * num_outputs + n[None, :],
        acc.to(out.dtype.element_ty),
        mask=rows_here[:, None] & outputs_here[None, :],
    )


def mixed_linear(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    """x [num_rows, inputs] by weight [outputs, inputs] of any dtype: [num_rows, outputs] in x's.

    scale float32 [outputs] multiplies each output before bias [outputs] is added.
    """
    x = x.contiguous()
    num_rows, num_inputs = x.shape
    num_outputs = weight.shape[0]
    out = torch.empty((num_rows, num_outputs), dtype=x.dtype, device=x.device)
    tiles = tiles_for(num_rows, num_outputs, x.element_size())
    grid = (triton.cdiv(num_rows, tiles.rows) * triton.cdiv(num_outputs, tiles.outputs),)
    _mixed_kernel[grid](
        x, weight, weight if scale is None else scale, weight if bias is None else bias, out,
        num_rows, num_outputs, num_inputs,
        ROWS=tiles.rows, OUTPUTS=tiles.outputs, INPUTS=tiles.inputs, GROUP=GROUP_ROWS,
        HAS_SCALE=scale is not None, HAS_BIAS=bias is not None,
        num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
    return out
