"""The language half: one forward over the packed tokens of a step. Owns no cache, no schedule.

Rows of a step are tokens of any sequences: one per decoding sequence, many per prefilled chunk.
All linear layers see one [num_rows, hidden] matrix; only attention knows who belongs to whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.model.attention import AttentionPlan
from glyph_worker.model.kernels import HeadNorms, Kernels, TorchKernels, Turns
from glyph_worker.model.language_parts import LanguageParts, LayerParts
from glyph_worker.model.linear import Int8Linear, Linear, PackedLinear, PlainLinear
from glyph_worker.model.norms import Norm


@dataclass(frozen=True, slots=True)
class StepInput:
    """One forward. All tensors on the model's device."""

    embeds: Tensor
    """[num_rows, hidden]: token embeddings or visual tokens, in the step's dtype."""
    positions: Tensor
    """int [3, num_rows]: t, h, w of each row."""
    places: Tensor
    """int64 [num_rows]: where in the pool each row's key and value go."""
    logit_rows: Tensor | None
    """int64 [num_logits]: rows whose next token is asked for; None is all of them."""
    plan: AttentionPlan
    row_sums: Tensor | None = None
    """float32 [num_rows], written by the forward: sums of what the last norm gives, finite if and
    only if nothing a row passed through left its dtype's range."""
    deep: Tensor | None = None
    """[num_deep, num_rows, hidden]: added to the stream after each of the first layers (deepstack);
    zero where no visual token stands."""


WeightForm = Literal["plain", "packed", "int8"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer: its parts, and their matrices as the device likes them."""

    parts: LayerParts
    head_norms: HeadNorms | None
    qkv: Linear
    """All query heads, then key heads, then value heads."""
    out: Linear
    wide: Linear
    """Gate and up, one after the other, or a plain layer."""
    down: Linear
    following_norm: Norm
    """The next layer's first norm, or the model's last."""


class LanguageModel:
    """Own forward over the library's text weights. Not thread-safe: the engine's thread owns it."""

    def __init__(self, parts: LanguageParts, *, form: WeightForm = "plain") -> None:
        """`parts` are of the library's model, in evaluation mode; in the form `int8` its matrices
        are `Int8Module`s already."""
        self.parts = parts
        self.num_layers = len(parts.layers)
        self.num_heads = parts.num_heads
        self.num_kv_heads = parts.num_kv_heads
        self.hidden_size = parts.hidden_size
        self.vocab_size = parts.vocab_size
        self.head_dim = parts.head_dim
        self.scale = parts.scale
        self.num_deep = parts.num_deep
        """Layers after which a page's deeper features are added."""
        self.feature_width = (1 + parts.num_deep) * parts.hidden_size
        """Of a visual token as it comes: what is embedded, then what is added after each layer."""
        self.device = parts.device
        self.dtype = parts.embed.dtype
        if parts.rotary is not None:
            self._inv_freq = parts.rotary.inv_freq.float().to(self.device)  # [rotary_dim / 2]
            self._axes = torch.tensor(parts.rotary.axes, device=self.device)
        self.form = form
        following = [*(layer.attention_norm for layer in parts.layers[1:]), parts.final_norm]
        self._layers = [
            self._prepare(layer, norm) for layer, norm in zip(parts.layers, following, strict=True)
        ]
        self._head = self._matrix(parts.head)
        self.kernels = TorchKernels()

    @property
    def kernels(self) -> Kernels:
        """What lies between matrices, and multiplies those of another dtype."""
        return self._kernels

    @kernels.setter
    def kernels(self, kernels: Kernels) -> None:
        self._kernels = kernels
        layers = ((one.qkv, one.out, one.wide, one.down) for one in self._layers)
        for matrix in (self._head, *chain.from_iterable(layers)):
            if isinstance(matrix, PlainLinear | Int8Linear):
                matrix.mixed = kernels.mixed_linear

    def _prepare(self, parts: LayerParts, norm: Norm) -> Layer:
        norms = None
        if parts.query_norm is not None and parts.key_norm is not None:
            norms = HeadNorms(parts.query_norm, parts.key_norm)
        return Layer(
            parts=parts,
            head_norms=norms,
            qkv=self._matrix(parts.query, parts.key, parts.value),
            out=self._matrix(parts.out),
            wide=self._matrix(*parts.wide),
            down=self._matrix(parts.down),
            following_norm=norm,
        )

    def _matrix(self, *modules: Any) -> Linear:
        """Linear layers of one input as one matrix."""
        weight, scale, bias = _fused(*modules)
        if scale is not None:
            return Int8Linear(weight, scale, bias)
        return (PackedLinear if self.form == "packed" else PlainLinear)(weight, bias)

    def embed(self, token_ids: Tensor) -> Tensor:
        """int64 [num_tokens] to [num_tokens, hidden]."""
        embeds = F.embedding(token_ids, self.parts.embed)
        return embeds if self.parts.stream_scale == 1 else embeds * self.parts.stream_scale

    def visual(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Page features [num_tokens, feature_width] as embeddings [num_tokens, hidden] and what is
        added after the first layers, [num_deep, num_tokens, hidden], if anything is."""
        features = features.to(self.device, self.dtype)
        if self.parts.stream_scale != 1:
            features = features * self.parts.stream_scale
        if not self.num_deep:
            return features, None
        pieces = features.view(len(features), 1 + self.num_deep, self.hidden_size)
        return pieces[:, 0], pieces[:, 1:].transpose(0, 1)

    def rotation(self, positions: Tensor) -> Turns | None:
        """How heads are turned at int positions [3, num_rows]; None where they are not."""
        rotary = self.parts.rotary
        if rotary is None:
            return None
        # Indexing after the transpose keeps rows contiguous, as the fused kernel reads them.
        angles = positions.T.float()[:, self._axes] * self._inv_freq
        turns = torch.polar(torch.full_like(angles, rotary.scale), angles).unsqueeze(1)
        return Turns(turns, rotary.halves)

    def forward(self, step: StepInput, pool: Tensor) -> Tensor:
        """Write the step's keys and values into the pool and return logits [num_logits, vocab].

        pool: [num_layers, 2, num_kv_heads, pool_tokens, head_dim]. Logits are in the step's dtype.
        """
        kernels = self.kernels
        turns = self.rotation(step.positions)
        hidden = self._placed(step)
        normed = self._layers[0].parts.attention_norm(hidden)
        for index, layer in enumerate(self._layers):
            parts, keys, values = layer.parts, pool[index, 0], pool[index, 1]
            heads = layer.qkv(normed).view(len(normed), -1, self.head_dim)
            kernels.rotate_and_store(heads, layer.head_norms, turns, step.places, keys, values)
            mixed = kernels.attend(heads, keys, values, step.plan, self.scale)
            hidden, normed = kernels.add_norms(
                hidden, layer.out(mixed), parts.out_norm, parts.mlp_norm
            )
            wide = layer.wide(normed)
            wide = kernels.gate(wide, parts.activation) if parts.gated else parts.activation(wide)
            hidden, normed = kernels.add_norms(
                hidden, layer.down(wide), parts.down_norm, layer.following_norm
            )
            if step.deep is not None and index < self.num_deep:
                hidden = hidden + step.deep[index]
                normed = layer.following_norm(hidden)
        if step.row_sums is not None:
            torch.sum(normed, dim=-1, dtype=torch.float32, out=step.row_sums)
        return self._head(normed if step.logit_rows is None else normed[step.logit_rows])

    def _placed(self, step: StepInput) -> Tensor:
        """The step's embeddings, with learned positions added where the model has them."""
        learned = self.parts.learned_positions
        if learned is None:
            return step.embeds
        places = F.embedding(step.positions[0].long(), learned)
        if self.parts.stream_scale != 1:
            places = places * self.parts.stream_scale
        return step.embeds + places.to(step.embeds.dtype)


def _fused(*modules: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Stack linear layers of one input: weight, scale of 8-bit rows, and bias. The library's become
    views of them."""
    weight, scale, bias = (_stacked(modules, name) for name in ("weight", "scale", "bias"))
    assert weight is not None
    return weight, scale, bias


@torch.no_grad()
def _stacked(modules: tuple[Any, ...], name: str) -> Tensor | None:
    """One tensor of each, one under the other; None where they have none."""
    parts: list[Tensor] = [
        part for one in modules if (part := getattr(one, name, None)) is not None
    ]
    if len(parts) < 2:
        return parts[0] if parts else None
    whole = torch.cat(parts)
    start = 0
    for part in parts:
        part.data = whole[start : start + len(part)]
        start += len(part)
    return whole
