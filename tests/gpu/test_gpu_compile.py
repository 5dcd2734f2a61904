"""Triton kernels compile for the GPUs they are meant for; needs the triton package, no device."""

from __future__ import annotations

import os
from typing import Any

import pytest

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("interpreted kernels are not compiled", allow_module_level=True)

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

DTYPES = {"fp16": 2, "fp32": 4}
SHARED_LIMITS = {80: 163 * 1024, 90: 227 * 1024}
"""Shared memory of one block, bytes, by compute capability."""


def compile_kernel(
    kernel: Any, signature: dict[str, str], constants: dict[str, int], capability: int, warps: int
) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    whole = {**signature, **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(fn=kernel, signature=whole, constexprs=constants)
    return triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps}
    )


@pytest.mark.parametrize("capability", SHARED_LIMITS)
@pytest.mark.parametrize("tile", [1, 8])
def test_piece_kernel_fits_the_shared_memory(capability: int, tile: int) -> None:
    from glyph_worker.model import kernels_triton as kernels

    lines = tile * 16
    compiled = compile_kernel(
        kernels._piece_kernel,
        {
            "heads": "*fp16", "keys": "*fp16", "values": "*fp16", "pieces": "*i32",
            "part_out": "*fp32", "part_lse": "*fp32", "scale": "fp32", "max_pieces": "i32",
            "heads_row_stride": "i32", "pool_head_stride": "i64",
        },
        {"GROUP": 16, "DIM": 128, "ROWS": tile, "BLOCK_M": lines, "BLOCK_N": kernels.BLOCK_N},
        capability,
        8 if lines > 64 else 4,
    )  # fmt: skip
    assert compiled.metadata.shared <= SHARED_LIMITS[capability]


@pytest.mark.parametrize("capability", SHARED_LIMITS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_kernels_compile(capability: int, dtype: str) -> None:
    from glyph_worker.model import kernels_triton as kernels

    pointer = f"*{dtype}"
    compile_kernel(
        kernels._merge_kernel,
        {
            "out": pointer, "pieces": "*i32", "row_starts": "*i32", "row_pieces": "*i32",
            "part_out": "*fp32", "part_lse": "*fp32", "num_kv": "i32",
        },
        {"GROUP": 16, "DIM": 128, "ROWS": 2, "PARTS": kernels.MERGE_PARTS},
        capability,
        4,
    )  # fmt: skip
    compile_kernel(
        kernels._rotate_store_kernel,
        {
            "heads": pointer, "turns": "*fp32", "places": "*i64", "keys": pointer,
            "values": pointer, "num_q": "i32", "num_kv": "i32", "pool_head_stride": "i64",
        },
        {"DIM": 128, "PAIRS": 32, "BLOCK_PAIRS": 32, "STEP": 2, "APART": 1},
        capability,
        1,
    )  # fmt: skip
    compile_kernel(
        kernels._add_norms_kernel,
        {
            "hidden": pointer, "change": pointer, "inner": pointer, "outer": pointer,
            "sum_out": pointer, "norm_out": pointer, "inner_eps": "fp32", "outer_eps": "fp32",
        },
        {"WIDTH": 4096, "BLOCK": 4096, "HAS_INNER": True},
        capability,
        8,
    )  # fmt: skip
    compile_kernel(
        kernels._gate_kernel,
        {"gate_up": pointer, "wide": pointer, "width": "i32"},
        {"BLOCK": 1024},
        capability,
        4,
    )
