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


def axes_interleaved(sections: tuple[int, ...], num_pairs: int) -> tuple[int, ...]:
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
    head: Any
    """The library's last linear module, [vocab, hidden]; its weight may be `embed` itself."""
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


def rotary_language(
    model: Any,
    layer: Callable[[Any], LayerParts],
    axes: tuple[int, ...],
    *,
    halves: bool,
    num_deep: int = 0,
) -> LanguageParts:
    """The language half of a library's model with multimodal rotary embedding."""
    text = model.model.language_model
    config, attn, rotary = text.config, text.layers[0].self_attn, text.rotary_emb
    return LanguageParts(
        layers=tuple(layer(one) for one in text.layers),
        embed=text.embed_tokens.weight,
        final_norm=Norm(text.norm),
        head=model.lm_head,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=attn.head_dim,
        scale=attn.scaling,
        rotary=Rotary(
            inv_freq=rotary.inv_freq,
            axes=axes,
            halves=halves,
            scale=float(rotary.attention_scaling),
        ),
        num_deep=num_deep,
    )


def rotary_sections(model: Any) -> tuple[int, ...]:
    """Pairs of time, height and width, as the library's rotary embedding splits them."""
    return tuple(model.model.language_model.rotary_emb.mrope_section)
