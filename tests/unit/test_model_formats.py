"""Number formats by what the machine has: none is multiplied that it only imitates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench import machine
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from glyph_worker.engine.selftest import self_test
from glyph_worker.model import formats
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.formats import cpu_flags, cpu_formats, instruction_set
from glyph_worker.model.linear import PlainLinear
from glyph_worker.model.wide_products import wide_products
from glyph_worker.setting_sections import EngineSettings

AVX2 = frozenset({"sse4_2", "avx", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512vl", "avx512bw", "avx512dq"}
ZEN5 = AVX512 | {"avx512_bf16"}
SAPPHIRE = ZEN5 | {"amx_bf16", "avx512_fp16"}
GRAVITON = frozenset({"asimd", "asimdhp", "bf16", "sve"})

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "linear", "convolution", "dot", "attention")


@pytest.mark.parametrize(
    ("flags", "limits", "found"),
    [
        (frozenset(), {}, {"float32"}),
        (AVX2, {}, {"float32"}),
        (AVX512, {}, {"float32"}),
        (ZEN5, {}, {"float32", "bfloat16"}),
        (SAPPHIRE, {}, {"float32", "bfloat16", "float16"}),
        (GRAVITON, {}, {"float32", "bfloat16"}),
        (SAPPHIRE, {"ATEN_CPU_CAPABILITY": "avx2"}, {"float32"}),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, {"float32"}),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "avx512_core"}, {"float32"}),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, {"float32", "bfloat16"}),
        (SAPPHIRE, {"DNNL_MAX_CPU_ISA": "AVX2"}, {"float32"}),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "ALL"}, {"float32", "bfloat16", "float16"}),
    ],
)
def test_a_format_is_fast_where_the_cpu_multiplies_it(
    flags: frozenset[str], limits: dict[str, str], found: set[str]
) -> None:
    assert cpu_formats(flags, limits) == found


@pytest.mark.parametrize(
    ("flags", "limits", "name"),
    [
        (AVX2, {}, "avx2"),
        (SAPPHIRE, {}, "avx512"),
        (SAPPHIRE, {"ATEN_CPU_CAPABILITY": "avx2"}, "avx2"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "avx2"),
    ],
)
def test_the_instruction_set_is_the_widest_that_torch_may_use(
    flags: frozenset[str], limits: dict[str, str], name: str
) -> None:
    assert instruction_set(flags, limits) == name


@pytest.mark.parametrize(
    "limits", [{}, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}]
)
def test_torch_sees_the_same_instruction_set(limits: dict[str, str]) -> None:
    if not {"avx2", "fma"} <= cpu_flags():
        pytest.skip("no x86 CPU with AVX2")
    code = (
        "import json, torch; from glyph_worker.model.formats import instruction_set;"
        "print(json.dumps([torch.backends.cpu.get_cpu_capability().lower(), instruction_set()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **limits},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    torchs, ours = json.loads(done.stdout)
    assert torchs == ours


@pytest.fixture
def only_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without products of 16-bit numbers, whatever this one has."""
    monkeypatch.setattr(formats, "cpu_formats", lambda: frozenset({"float32"}))


class Products(TorchDispatchMode):
    """The dtypes that are multiplied meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if any(word in func.name() for word in PRODUCTS):
            self.dtypes |= {x.dtype for x in args if isinstance(x, Tensor)} & {
                torch.float32, torch.float16, torch.bfloat16,
            }  # fmt: skip
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_reader_of_16_bits_multiplies_in_float32(
    only_float32: None, folder: Path, dtype: str, int8: bool
) -> None:
    with Products() as seen:
        reader = load_reader(folder, dtype=dtype, int8=int8)
        self_test(reader, EngineSettings())
    assert seen.dtypes == {torch.float32}
    assert reader.dtype_name == dtype, "kept as it was asked for"


def test_a_lane_of_bfloat16_multiplies_in_float32(only_float32: None) -> None:
    weight, x = torch.randn(8, 16, dtype=torch.float16), torch.randn(3, 16, dtype=torch.bfloat16)
    with Products() as seen:
        out = PlainLinear(weight)(x)
    assert seen.dtypes == {torch.float32}
    assert torch.equal(out, (x.float() @ weight.float().T).to(torch.bfloat16))


def test_training_multiplies_in_float32(only_float32: None) -> None:
    from train.run import optimizers, trained
    from train.stages import Trainee

    trainee = Trainee()
    weights = trained(trainee, "eyes")
    cells = torch.from_numpy(np.full((1, 2, 64), 40, dtype=np.int64))
    with Products() as seen:
        torch.autograd.backward(trainee.eyes(cells).loss)
        with wide_products(trainee.device):
            for optimizer in optimizers(weights, "eyes"):
                optimizer.step()
    assert seen.dtypes == {torch.float32}


def test_formats_that_are_fast_are_multiplied_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(formats, "cpu_formats", lambda: frozenset({"float32", "bfloat16"}))
    x = torch.randn(4, 4, dtype=torch.bfloat16)
    with Products() as seen, wide_products(x.device):
        PlainLinear(x)(x)
    assert seen.dtypes == {torch.bfloat16}


def test_a_bench_names_the_instruction_set() -> None:
    assert machine.device_name().endswith(f"-{instruction_set()}")
