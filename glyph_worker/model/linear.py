"""A matrix as its device multiplies it best: plain, packed for the CPU, or in 8 bits."""

from __future__ import annotations

import logging
from collections.abc import Callable
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


MixedLinear = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""x, a weight of another dtype, its scale and the bias: a product in x's dtype."""


def widened(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    """x [..., inputs] by weight [outputs, inputs] cast to x's dtype, one whole matrix at a time.

    scale float32 [outputs] multiplies each output before bias [outputs] is added.
    """
    out = F.linear(x, weight.to(x.dtype))
    if scale is not None:
        out = out * scale.to(x.dtype)
    return out if bias is None else out + bias.to(x.dtype)


class PlainLinear:
    """The library's own call; by `mixed` where x has another dtype (the bfloat16 group)."""

    mixed: MixedLinear = staticmethod(widened)

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight  # [outputs, inputs]
        self.bias = bias
        self._slow = slow_dtypes(weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype in self._slow:
            return self.mixed(x.float(), self.weight, None, self.bias).to(x.dtype)
        if x.dtype == self.weight.dtype:
            return F.linear(x, self.weight, self.bias)
        return self.mixed(x, self.weight, None, self.bias)


PACKED_ROWS = 64
"""With vectors of 256 bits the plain call is faster from here on. Measured on an AMD EPYC with
AVX2, both sides in turn: packed takes 0.65 of the plain call's time at 12 rows, as much at 64, and
1.3 of it at 2,827, of which 0.1 is what rounding adds."""


def most_packed_rows() -> int | None:
    """How many rows are multiplied by the packed weight at most; None is any number."""
    return PACKED_ROWS if torch.backends.cpu.get_cpu_capability() == "AVX2" else None


class PackedLinear:
    """float32 on the CPU through oneDNN with the weight laid out beforehand.

    Measured on a Zen 5 core: 2.3 to 4 times the speed of the plain call, whose library does not
    use all of that CPU's vector units. Where it does, many rows are multiplied plainly. A row's
    packed result does not depend on the number of rows.

    oneDNN compiles for each number of rows and keeps about 0.4 MB of it, a thousand times over
    for each thread; steps have any number of rows. So they are rounded up: few are ever compiled.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), 64)
        self._weight = weight
        self._bias = bias
        self._most_rows = most_packed_rows()

    def __call__(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # one graph serves any number of rows
            return self._multiply(x) if self._most_rows is None else self._plain(x)
        num_rows = x.shape[:-1].numel()
        if self._most_rows is not None and num_rows > self._most_rows:
            return self._plain(x)
        padded = rounded_rows(num_rows)
        if padded == num_rows:
            return self._multiply(x)
        rows = x.new_empty(padded, x.shape[-1])
        rows[:num_rows] = x.reshape(num_rows, x.shape[-1])
        rows[num_rows:] = 0
        return self._multiply(rows)[:num_rows].view(*x.shape[:-1], -1)

    def _plain(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)

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
    """8-bit weights with one scale per output; see `int8`. Halves the memory of 16-bit weights."""

    mixed: MixedLinear = staticmethod(widened)

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight  # int8 [outputs, inputs]
        self._scale = scale  # float32 [outputs]
        self._bias = bias
        self._slow = slow_dtypes(weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype in self._slow:
            return self.mixed(x.float(), self._weight, self._scale, self._bias).to(x.dtype)
        return self.mixed(x, self._weight, self._scale, self._bias)


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
