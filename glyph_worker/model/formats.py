"""Which number formats this machine multiplies at speed. No tensors, no choice of a model's dtype.

The one place that knows. A CPU without such instructions multiplies 16-bit numbers 8 to 80 times as
slowly as 32-bit ones (AVX2), so whoever keeps 16 bits there multiplies in 32.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# What oneDNN, which does torch's products, calls the sets without products of 16-bit floats.
_NO_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_NO_FP16 = (*_NO_BF16, "AVX512_CORE_BF16")


def cpu_flags() -> frozenset[str]:
    """What the kernel says the CPU can; empty where there is no /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, Arm
            return frozenset(words.split())
    return frozenset()


def instruction_set(
    flags: frozenset[str] | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """`avx512`, `avx2`, or the machine's name: the widest that torch may use.

    `ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA` narrow it, as they narrow torch.
    """
    flags = cpu_flags() if flags is None else flags
    aten, onednn = _limits(environ)
    wide = {"avx512vl", "avx512bw", "avx512dq", "fma"} <= flags
    if wide and aten not in ("avx2", "default") and onednn not in _NO_BF16[:5]:
        return "avx512"
    if {"avx2", "fma"} <= flags and aten != "default" and onednn not in _NO_BF16[:2]:
        return "avx2"
    return platform.machine()


def cpu_formats(
    flags: frozenset[str] | None = None, environ: Mapping[str, str] = os.environ
) -> frozenset[str]:
    """Names of the dtypes whose products are no slower than float32's; `float32` among them."""
    flags = cpu_flags() if flags is None else flags
    _, onednn = _limits(environ)
    wide = instruction_set(flags, environ) == "avx512"
    found = {"float32"}
    if "bf16" in flags or (wide and flags & {"avx512_bf16", "amx_bf16"} and onednn not in _NO_BF16):
        found.add("bfloat16")
    if wide and flags & {"avx512_fp16", "amx_fp16"} and onednn not in _NO_FP16:
        found.add("float16")
    return frozenset(found)


def device_formats(device: torch.device) -> frozenset[str]:
    """The same of a device. GPUs before compute capability 8.0 only imitate bfloat16."""
    if device.type != "cuda":
        return cpu_formats()
    import torch

    real = torch.cuda.is_bf16_supported(including_emulation=False)
    return frozenset({"float32", "float16"} | ({"bfloat16"} if real else set()))


def _limits(environ: Mapping[str, str]) -> tuple[str, str]:
    onednn = environ.get("ONEDNN_MAX_CPU_ISA") or environ.get("DNNL_MAX_CPU_ISA") or ""
    return environ.get("ATEN_CPU_CAPABILITY", ""), onednn.upper()
