"""A matrix as its device multiplies it best: plain, packed for the CPU, or in 8 bits."""

from __future__ import annotations

import logging
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.model.formats import device_formats

log = logging.getLogger(__name__)

PACK_LIMIT_BYTES = 8 << 30
"""Packing keeps a second copy of each matrix; larger models stay plain."""


class Linear(Protocol):
    """x [..., inputs] to [..., outputs]."""

    def __call__(self, x: Tensor) -> Tensor: ...


def slow_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """16-bit dtypes whose products a device only imitates: it multiplies float32 in their place."""
    fast = device_formats(device)
    both = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    return tuple(dtype for name, dtype in both.items() if name not in fast)


class PlainLinear:
    """The library's own call; casts its weight when asked in another dtype (the fallback lane)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight  # [outputs, inputs]
        self.bias = bias
        self._slow = slow_dtypes(weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        dtype = torch.float32 if x.dtype in self._slow else x.dtype
        if dtype == self.weight.dtype:
            return F.linear(x, self.weight, self.bias)
        bias = None if self.bias is None else self.bias.to(dtype)
        return F.linear(x.to(dtype), self.weight.to(dtype), bias).to(x.dtype)


class PackedLinear:
    """float32 on the CPU through oneDNN with the weight laid out beforehand.

    Measured on a Zen 5 core: 2.3 to 4 times the speed of the plain call, whose library does not
    use all of that CPU's vector units. A row's result does not depend on the number of rows.

    oneDNN compiles for each number of rows and keeps about 0.4 MB of it, a thousand times over
    for each thread; steps have any number of rows. So they are rounded up: few are ever compiled.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), 64)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # one graph serves any number of rows
            return self._multiply(x)
        num_rows = x.shape[:-1].numel()
        padded = rounded_rows(num_rows)
        if padded == num_rows:
            return self._multiply(x)
        rows = x.new_empty(padded, x.shape[-1])
        rows[:num_rows] = x.reshape(num_rows, x.shape[-1])
        rows[num_rows:] = 0
        return self._multiply(rows)[:num_rows].view(*x.shape[:-1], -1)

    def _multiply(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self._bias, "none", [], ""
        )
        return out


def rounded_rows(num_rows: int) -> int:
    """The next number of rows that is multiplied as it is: eight between a power of two and the
    next, so that an eighth at most is added."""
    step = 1 << max(0, num_rows.bit_length() - 4)
    return -(-num_rows // step) * step


class Int8Linear:
    """8-bit weights with one scale per output; the product runs in x's dtype where that is fast.

    Halves the memory of 16-bit weights. One matrix at a time is widened while it is used.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        largest = weight.detach().abs().amax(dim=1).float().clamp(min=1e-12)
        self._scale = largest / 127  # [outputs]
        self._weight = (
            (weight.detach().float() / self._scale[:, None]).round().clamp(-127, 127).to(torch.int8)
        )
        self._bias = bias
        self._slow = slow_dtypes(weight.device)

    @property
    def num_bytes(self) -> int:
        return self._weight.numel() + self._scale.numel() * self._scale.element_size()

    def __call__(self, x: Tensor) -> Tensor:
        dtype = torch.float32 if x.dtype in self._slow else x.dtype
        out = F.linear(x.to(dtype), self._weight.to(dtype)) * self._scale.to(dtype)
        return (out if self._bias is None else out + self._bias.to(dtype)).to(x.dtype)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this build of torch packs float32 matrices on this device and gets them right."""
    if device.type != "cpu" or dtype != torch.float32:
        return False
    try:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(48, 32, generator=generator)
        x = torch.randn(3, 32, generator=generator)
        return torch.allclose(PackedLinear(weight)(x), F.linear(x, weight), atol=1e-4)
    except (RuntimeError, AttributeError, NotImplementedError) as exc:
        # The operators are internal to torch and may go; plain matrices give the same answers.
        log.warning(
            "torch %s does not pack matrices, so they stay plain: %s", torch.__version__, exc
        )
        return False
