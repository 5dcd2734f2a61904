"""Normalisation as one call: the library's layers by their weights. Computed in float32."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def rms_norm(hidden: Tensor, norm: Any) -> Tensor:
    """The library's RMSNorm, computed in float32 by one fused call, in hidden's dtype."""
    weight = norm.weight
    if weight.dtype != hidden.dtype:
        weight = weight.to(hidden.dtype)
    return F.rms_norm(hidden, (hidden.shape[-1],), weight, norm.variance_epsilon)


def layer_norm(hidden: Tensor, norm: Any) -> Tensor:
    """The library's LayerNorm in hidden's dtype."""
    weight, bias = norm.weight, norm.bias
    if weight is not None and weight.dtype != hidden.dtype:
        weight, bias = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
    return F.layer_norm(hidden, norm.normalized_shape, weight, bias, norm.eps)


class Norm:
    """One norm of the language half: root mean square, or with the mean taken off and a bias."""

    def __init__(self, module: Any) -> None:
        """`module` is the library's RMSNorm or torch's LayerNorm; its weight is shared."""
        self.module = module
        self.centred = isinstance(module, nn.LayerNorm)
        self.eps: float = module.eps if self.centred else module.variance_epsilon
        """May be changed: a scaled stream needs the square of its scale here."""

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.module.weight
        return weight

    @property
    def variance_epsilon(self) -> float:
        return self.eps

    @property
    def normalized_shape(self) -> tuple[int, ...]:
        return tuple(self.module.normalized_shape)

    @property
    def bias(self) -> Tensor | None:
        bias: Tensor | None = self.module.bias
        return bias

    def __call__(self, hidden: Tensor) -> Tensor:
        return layer_norm(hidden, self) if self.centred else rms_norm(hidden, self)
