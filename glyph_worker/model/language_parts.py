"""A language model as layers of named parts: what families differ in, said once. No forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glyph_worker.model.norms import Norm


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerParts:
    """One decoder layer: the library's linear modules, and its norms."""

    attention_norm: Norm
    query: Any
    key: Any
    value: Any
    out: Any
    query_norm: Norm | None = None
    """Over each head, before it is turned."""
    key_norm: Norm | None = None
    out_norm: Norm | None = None
    """Of what attention adds to the stream (a sandwich)."""
    mlp_norm: Norm
    wide: tuple[Any, ...]
    """Into the wide half: one fused gate-and-up, a gate and an up, or a plain layer."""
    gated: bool
    activation: Callable[[Tensor], Tensor]
    down: Any
    down_norm: Norm | None = None
    """Of what the wide half adds to the stream (a sandwich)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotary:
    """Multimodal rotary embedding."""

    inv_freq: Tensor
    """[pairs]."""
    axes: tuple[int, ...]
    """Which of time, height and width (0, 1, 2) turns each pair."""
    halves: bool
    """Pairs are (i, i + pairs); else neighbours (2 i, 2 i + 1)."""
    scale: float = 1.0


def axes_in_blocks(sections: tuple[int, ...]) -> tuple[int, ...]:
    """Section i of the frequencies turns with axis i % 3."""
    return tuple(i % 3 for i, size in enumerate(sections) for _ in range(size))


def axes_interleaved(sections: tuple[int, int, int], num_pairs: int) -> tuple[int, ...]:
    """Time, height, width in turn as long as a section lasts; what is left turns with time."""
    axes = [0] * num_pairs
    for axis in (1, 2):
        for at in range(axis, 3 * sections[axis], 3):
            axes[at] = axis
    return tuple(axes)


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageParts:
    """A whole language model."""

    layers: tuple[LayerParts, ...]
    embed: Tensor
    """[vocab, hidden]."""
    final_norm: Norm
    head: Tensor
    """[vocab, hidden]; may be `embed` itself."""
    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    """Of attention's scores."""
    rotary: Rotary | None = None
    learned_positions: Tensor | None = None
    """[num_positions, hidden], added to the embeddings."""
    num_deep: int = 0
    """First layers after which a page's deeper features are added (deepstack)."""
    stream_scale: float = 1.0
    """A power of two by which embeddings, visual tokens and all that is added to the stream are
    smaller than the checkpoint says; see `scales`."""

    @property
    def hidden_size(self) -> int:
        return int(self.embed.shape[1])

    @property
    def vocab_size(self) -> int:
        return int(self.embed.shape[0])

    @property
    def device(self) -> torch.device:
        return self.embed.device
