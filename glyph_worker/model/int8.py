"""Matrices in 8 bits with a scale per output: half the memory of 16 bits, decode bound by half."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from glyph_worker.model.language_parts import LanguageParts
from glyph_worker.model.linear import widened

_SLICE = 2_048
"""Rows widened at a time: 32 MiB at 4,096 inputs."""


@torch.no_grad()
def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [outputs, inputs] and float32 [outputs]: each row by its largest magnitude."""
    ints = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device)
    for start in range(0, weight.shape[0], _SLICE):
        rows = weight[start : start + _SLICE].float()
        by = rows.abs().amax(dim=1).clamp(min=1e-12) / 127
        scale[start : start + _SLICE] = by
        ints[start : start + _SLICE] = (rows / by[:, None]).round().clamp(-127, 127).to(torch.int8)
    return ints, scale


class Int8Module(nn.Module):
    """Stands where the library had a linear layer, and computes what that would, rounded."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @classmethod
    def like(cls, module: Any) -> Self:
        """Of a linear layer's shape, where that is (the meta device); without its numbers."""
        weight = module.weight
        return cls(
            torch.empty_like(weight, dtype=torch.int8),
            torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device),
            module.bias,
        )

    @classmethod
    def of(cls, module: Any) -> Self:
        return cls(*quantised(module.weight), module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return widened(x, self.weight, self.scale, self.bias)


def make_int8(model: Any, parts: LanguageParts) -> None:
    """Replace a loaded model's language matrices, one after the other."""
    wanted = {id(module) for module in language_matrices(parts)}
    for name, module in list(model.named_modules()):
        if id(module) in wanted:
            model.set_submodule(name, Int8Module.of(module))
            module.weight.data = module.weight.data.new_empty(0)


def language_matrices(parts: LanguageParts) -> list[nn.Module]:
    """The linear layers of a language model, its last one too unless that is the embedding."""
    found: list[nn.Module] = []
    for layer in parts.layers:
        found += [layer.query, layer.key, layer.value, layer.out, *layer.wide, layer.down]
    if parts.head.weight is not parts.embed:
        found.append(parts.head)
    return found


def weight_of(module: Any) -> Tensor:
    """A linear layer's matrix."""
    weight: Tensor = module.weight
    return weight
