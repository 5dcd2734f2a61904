"""FP16 made safe: powers of two folded into a language model's weights, exact in real numbers.

A stream in which everything is s times as large is the same to whoever normalises it before
reading: x / rms(x) is unchanged when eps is multiplied by the square of s. So embeddings, visual
tokens and whatever is added to the stream may all carry one s. Two inner products have a factor of
their own: what the values carry through attention, and the gated product of the wide half; it is
taken back where the branch ends, by its norm's eps in a sandwich (GLM) and in the last matrix
elsewhere (Qwen, OPT). Multiplying a weight by a power of two changes its exponent alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from glyph_worker.model.int8 import Int8Module
from glyph_worker.model.kernels import HeadNorms, TorchKernels, Turns
from glyph_worker.model.language_parts import LanguageParts, LayerParts
from glyph_worker.model.norms import Norm

LARGEST = 65_504.0
"""Of float16."""
MARGIN = 8.0
"""Pages have larger activations than the probe's: so many times as large must still fit."""
SMALLEST_SCALE = 2.0**-9
"""Below this, weights of ordinary size lose bits to float16's smallest exponent."""


@dataclass(slots=True)
class Peaks:
    """Largest magnitudes met in one or more forwards, in the weights' own scale."""

    stream: float = 0.0
    added: float = 0.0
    """What a branch adds to the stream, as it is added."""
    values: list[float] = field(default_factory=list)
    """By layer: values, and what attention makes of them before any norm."""
    inner: list[float] = field(default_factory=list)
    """By layer: the gated product, and what the last matrix makes of it before any norm."""


class Meter(TorchKernels):
    """Kernels that watch what passes through them. Use with float32 activations."""

    name = "meter"

    def __init__(self, parts: LanguageParts) -> None:
        self.peaks = Peaks(
            values=[0.0] * len(parts.layers),
            inner=[0.0] * len(parts.layers),
        )
        self._num_layers = len(parts.layers)
        self._layer = -1
        self._in_wide = False

    def rotate_and_store(
        self,
        heads: Tensor,
        norms: HeadNorms | None,
        turns: Turns | None,
        places: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> None:
        self._layer = (self._layer + 1) % self._num_layers
        self._in_wide = False
        self._note(self.peaks.values, heads[:, -keys.shape[0] :])
        super().rotate_and_store(heads, norms, turns, places, keys, values)

    def gate(self, gate_up: Tensor, activation: Any) -> Tensor:
        wide = super().gate(gate_up, activation)
        self._note(self.peaks.inner, wide)
        return wide

    def add_norms(
        self, hidden: Tensor, change: Tensor, inner: Norm | None, outer: Norm
    ) -> tuple[Tensor, Tensor]:
        if inner is None:
            self.peaks.added = max(self.peaks.added, _largest(change))
        else:
            self._note(self.peaks.inner if self._in_wide else self.peaks.values, change)
        total, normed = super().add_norms(hidden, change, inner, outer)
        self.peaks.stream = max(self.peaks.stream, _largest(total), _largest(hidden))
        self._in_wide = True
        return total, normed

    def _note(self, where: list[float], tensor: Tensor) -> None:
        where[self._layer] = max(where[self._layer], _largest(tensor))


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().amax()) if tensor.numel() else 0.0


@dataclass(frozen=True, slots=True)
class Scales:
    """Powers of two, at most 1."""

    stream: float
    values: tuple[float, ...]
    """By layer."""
    inner: tuple[float, ...]
    """By layer."""

    @property
    def idle(self) -> bool:
        """Nothing is to be changed."""
        return {self.stream, *self.values, *self.inner} == {1.0}

    @property
    def usable(self) -> bool:
        """Small enough a change that weights keep their bits."""
        return min(self.stream, *self.values, *self.inner) >= SMALLEST_SCALE

    def __str__(self) -> str:
        def power(scale: float) -> str:
            return "1" if scale == 1 else f"2^{int(math.log2(scale))}"

        return (
            f"stream {power(self.stream)}, values {power(min(self.values))}, "
            f"inner products {power(min(self.inner))}"
        )


def choose_scales(parts: LanguageParts, peaks: Peaks) -> Scales:
    """What keeps every activation of the probe `MARGIN` times under float16's largest number."""
    return Scales(
        stream=_fitting(max(MARGIN * max(peaks.stream, peaks.added), stream_bound(parts))),
        values=tuple(_fitting(MARGIN * peak) for peak in peaks.values),
        inner=tuple(_fitting(MARGIN * peak) for peak in peaks.inner),
    )


def stream_bound(parts: LanguageParts) -> float:
    """The largest number the stream can hold whatever the input, where sandwich norms bound what is
    added: sqrt(hidden) times the norm's largest weight, each; else 0. Embeddings of visual tokens
    are not in it: the probe knows those."""
    total = _largest(parts.embed)
    for layer in parts.layers:
        for norm in (layer.out_norm, layer.down_norm):
            if norm is None:
                return 0.0
            total += math.sqrt(parts.hidden_size) * _largest(norm.weight)
    return total


def _fitting(peak: float) -> float:
    """The largest power of two, at most 1, that brings `peak` under float16's largest number."""
    if not math.isfinite(peak):
        return 0.0
    return 1.0 if peak <= LARGEST else 2.0 ** -math.ceil(math.log2(peak / LARGEST))


@torch.no_grad()
def fold(parts: LanguageParts, scales: Scales) -> LanguageParts:
    """Scale the weights in place; returns the parts with the stream's scale."""
    stream = scales.stream
    for layer, values, inner in zip(parts.layers, scales.values, scales.inner, strict=True):
        for norm in (layer.attention_norm, layer.mlp_norm):
            norm.eps *= stream**2
        _multiply([layer.value], values)
        _end(layer.out, layer.out_norm, stream, values)
        _multiply_up(layer, inner)
        _end(layer.down, layer.down_norm, stream, inner)
    parts.final_norm.eps *= stream**2
    return replace(parts, stream_scale=parts.stream_scale * stream)


def _end(matrix: Any, norm: Norm | None, stream: float, inner: float) -> None:
    """The end of a branch whose input is `inner` times as large: make it `stream` times."""
    if norm is None:
        _row_numbers(matrix).mul_(stream / inner)
        if matrix.bias is not None:
            matrix.bias.data.mul_(stream)
        return
    if matrix.bias is not None:
        matrix.bias.data.mul_(inner)
    norm.eps *= inner**2
    norm.weight.data.mul_(stream)


def _row_numbers(module: Any) -> Tensor:
    """What scales a matrix's rows when it is multiplied: its numbers, or those of 8-bit rows."""
    numbers: Tensor = (module.scale if isinstance(module, Int8Module) else module.weight).data
    return numbers


def _multiply(modules: Sequence[Any], scale: float) -> None:
    for module in modules:
        _row_numbers(module).mul_(scale)
        if module.bias is not None:
            module.bias.data.mul_(scale)


def _multiply_up(layer: LayerParts, scale: float) -> None:
    """The half of the wide layer that is multiplied by the gate."""
    if scale == 1:
        return
    assert layer.gated, "only a gated product is measured"
    if len(layer.wide) == 2:
        _multiply(layer.wide[1:], scale)
        return
    [fused] = layer.wide
    half = fused.weight.shape[0] // 2
    _row_numbers(fused)[half:].mul_(scale)
    if fused.bias is not None:
        fused.bias.data[half:].mul_(scale)
