"""Triton kernels compile ahead of time for the GPUs they are meant for, within their shared memory.

Needs the triton package, no device. Shapes are the real 9 B model's, and Qwen's where they differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("interpreted kernels are not compiled", allow_module_level=True)

from glyph_worker.engine.kv_budget import WARM_ROWS  # noqa: E402
from glyph_worker.model import kernel_tiles  # noqa: E402
from glyph_worker.model import kernels_triton as kernels  # noqa: E402
from glyph_worker.model import linear_triton as linear  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

ITEMSIZE = {"fp16": 2, "bf16": 2, "fp32": 4}
SHARED_BYTES = {80: 166_912, 89: 101_376, 90: 232_448}
"""What one program may have by compute capability: A100, L4 and RTX 4090, H100 and H200."""

CAPABILITIES = pytest.mark.parametrize("capability", SHARED_BYTES)


def shared_of(
    kernel: Any,
    signature: dict[str, str],
    constants: dict[str, Any],
    capability: int,
    *,
    warps: int,
    stages: int = 3,
) -> int:
    """Bytes of shared memory that the compiled kernel asks for."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    whole = {**signature, **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(fn=kernel, signature=whole, constexprs=constants)
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": warps, "num_stages": stages},
    )
    shared: int = compiled.metadata.shared
    return shared


def pieces() -> Iterator[tuple[int, str, int]]:
    """Every tile that a device may be given, largest and smallest of each dtype."""
    for capability, shared in SHARED_BYTES.items():
        for dtype, itemsize in ITEMSIZE.items():
            largest = kernel_tiles.largest_tile(shared, group=16, dim=128, itemsize=itemsize)
            for tile in sorted({1, largest} if itemsize == 2 else {largest}):
                yield capability, dtype, tile


@pytest.mark.parametrize(("capability", "dtype", "tile"), [*pieces()])
def test_the_piece_kernel_fits_the_tile_chosen_for_a_device(
    capability: int, dtype: str, tile: int
) -> None:
    pointer, lines = f"*{dtype}", tile * 16
    loop = kernel_tiles.piece_loop(ITEMSIZE[dtype])
    shared = shared_of(
        kernels._piece_kernel,
        {
            "heads": pointer, "keys": pointer, "values": pointer, "pieces": "*i32",
            "part_out": "*fp32", "part_lse": "*fp32", "scale": "fp32", "max_pieces": "i32",
            "heads_row_stride": "i32", "pool_head_stride": "i64",
        },
        {"GROUP": 16, "DIM": 128, "ROWS": tile, "BLOCK_M": lines, "BLOCK_N": loop.keys},
        capability,
        warps=8 if lines > 64 else 4,
        stages=loop.stages,
    )  # fmt: skip
    assert shared <= SHARED_BYTES[capability]
    assert shared <= kernel_tiles.piece_bytes(tile, 16, 128, ITEMSIZE[dtype]), "the bound holds"


def test_tiles_are_smaller_where_there_is_less_room() -> None:
    def largest(capability: int, itemsize: int) -> int:
        shared = SHARED_BYTES[capability]
        return kernel_tiles.largest_tile(shared, group=16, dim=128, itemsize=itemsize)

    assert [largest(capability, 2) for capability in SHARED_BYTES] == [8, 8, 8]
    assert [largest(capability, 4) for capability in SHARED_BYTES] == [8, 4, 8]
    assert kernel_tiles.largest_tile(48 << 10, group=16, dim=128, itemsize=4) == 1
    assert kernel_tiles.largest_tile(1 << 10, group=16, dim=128, itemsize=2) == 0


MIXED = [("bf16", "fp16"), ("fp16", "i8"), ("fp32", "i8")]


def test_warm_up_takes_every_kind_of_tile() -> None:
    """A chunk's number of rows is no part of a program; its tiles are."""
    for itemsize in (2, 4):
        warm = {linear.tiles_for(rows, 4_096, itemsize) for rows in WARM_ROWS}
        assert warm == {linear.tiles_for(rows, 4_096, itemsize) for rows in range(1, 3_000)}
    assert linear._mixed_kernel.params[5].do_not_specialize


@CAPABILITIES
@pytest.mark.parametrize(("dtype", "weight"), MIXED)
def test_products_of_two_formats_fit_the_shared_memory(
    capability: int, dtype: str, weight: str
) -> None:
    for num_rows, num_outputs in ((16, 27_392), (64, 4_096), (2_048, 4_096)):
        tiles = linear.tiles_for(num_rows, num_outputs, ITEMSIZE[dtype])
        shared = shared_of(
            linear._mixed_kernel,
            {
                "x": f"*{dtype}", "weight": f"*{weight}", "scale": "*fp32", "bias": "*fp16",
                "out": f"*{dtype}", "num_rows": "i32", "num_outputs": "i32", "num_inputs": "i32",
            },
            {
                "ROWS": tiles.rows, "OUTPUTS": tiles.outputs, "INPUTS": tiles.inputs,
                "GROUP": linear.GROUP_ROWS, "HAS_SCALE": weight == "i8", "HAS_BIAS": True,
            },
            capability,
            warps=tiles.warps,
            stages=tiles.stages,
        )  # fmt: skip
        assert shared <= SHARED_BYTES[capability], tiles


@CAPABILITIES
@pytest.mark.parametrize(("dtype", "weight"), [("fp16", "fp16"), ("bf16", "fp16")])
def test_the_fused_kernels_compile(capability: int, dtype: str, weight: str) -> None:
    pointer, weights = f"*{dtype}", f"*{weight}"
    found = [
        shared_of(
            kernels._merge_kernel,
            {
                "out": pointer, "pieces": "*i32", "row_starts": "*i32", "row_pieces": "*i32",
                "part_out": "*fp32", "part_lse": "*fp32", "num_kv": "i32",
            },
            {"GROUP": 16, "DIM": 128, "ROWS": 2, "PARTS": kernels.MERGE_PARTS},
            capability,
            warps=4,
        ),
        shared_of(
            kernels._add_norms_kernel,
            {
                "hidden": pointer, "change": pointer, "inner": weights, "outer": weights,
                "sum_out": pointer, "norm_out": pointer, "inner_eps": "fp32", "outer_eps": "fp32",
            },
            {"WIDTH": 4096, "BLOCK": 4096, "HAS_INNER": True},
            capability,
            warps=8,
        ),
        shared_of(
            kernels._gate_kernel,
            {"gate_up": pointer, "wide": pointer, "width": "i32"},
            {"BLOCK": 1024},
            capability,
            warps=4,
        ),
    ]  # fmt: skip
    for has_norms, pairs in ((False, 32), (True, 64)):
        found.append(
            shared_of(
                kernels._rotate_store_kernel,
                {
                    "heads": pointer, "turns": "*fp32", "places": "*i64", "keys": pointer,
                    "values": pointer, "query_norm": weights, "key_norm": weights,
                    "query_eps": "fp32", "key_eps": "fp32",
                    "num_q": "i32", "num_kv": "i32", "pool_head_stride": "i64",
                },
                {
                    "DIM": 128, "PAIRS": pairs, "BLOCK_PAIRS": pairs, "STEP": 2, "APART": 1,
                    "HAS_NORMS": has_norms,
                },
                capability,
                warps=1,
            )
        )  # fmt: skip
    assert max(found) <= SHARED_BYTES[capability]


@pytest.mark.slow
def test_kernels_compute_what_they_should_in_tritons_interpreter() -> None:
    """In a process of its own: interpreting is decided when the kernels are imported."""
    file = Path(__file__).with_name("test_gpu_engine.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(file), "-p", "no:cacheprovider", "-n", "0"],
        env=os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:]
    assert " passed" in done.stdout
