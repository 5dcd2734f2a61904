"""The language half: one forward over the packed tokens of a step. Owns no cache, no schedule.

Rows of a step are tokens of any sequences: one per decoding sequence, many per prefilled chunk.
All linear layers see one [num_rows, hidden] matrix; only attention knows who belongs to whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.model.attention import AttentionPlan, attend
from glyph_worker.model.vision import rms_norm


@dataclass(frozen=True, slots=True)
class StepInput:
    """One forward. All tensors on the model's device."""

    embeds: Tensor
    """[num_rows, hidden]: token embeddings or visual tokens."""
    positions: Tensor
    """int [3, num_rows]: t, h, w of each row."""
    places: Tensor
    """int64 [num_rows]: where in the pool each row's key and value go."""
    logit_rows: Tensor
    """int64 [num_logits]: rows whose next token is asked for."""
    plan: AttentionPlan


class LanguageModel:
    """Own forward over the library's text weights. Not thread-safe: the engine's thread owns it."""

    def __init__(self, model: Any) -> None:
        """`model` is the library's `Glm4vForConditionalGeneration`, in evaluation mode."""
        text = model.model.language_model
        config = text.config
        self.num_layers: int = config.num_hidden_layers
        self.num_heads: int = config.num_attention_heads
        self.num_kv_heads: int = config.num_key_value_heads
        self.hidden_size: int = config.hidden_size
        self.vocab_size: int = config.vocab_size
        first = text.layers[0].self_attn
        self.head_dim: int = first.head_dim
        self.scale: float = first.scaling
        self._embed: Tensor = text.embed_tokens.weight
        self._layers = list(text.layers)
        self._norm = text.norm
        self._head: Tensor = model.lm_head.weight
        self.device = self._embed.device
        self.dtype = self._embed.dtype
        rotary = text.rotary_emb
        self._inv_freq = rotary.inv_freq.float().to(self.device)  # [rotary_dim / 2]
        self._rope_scale = float(rotary.attention_scaling)
        # Section i of the frequencies turns with axis i % 3 (time, height, width).
        axes = [i % 3 for i, size in enumerate(rotary.mrope_section) for _ in range(size)]
        self._axes = torch.tensor(axes, device=self.device)
        self._qkv = [self._fuse(layer.self_attn) for layer in self._layers]

    def _fuse(self, attn: Any) -> tuple[Tensor, Tensor]:
        """Stack q, k, v into one matrix; the library's layers become views of it, not copies."""
        projections = (attn.q_proj, attn.k_proj, attn.v_proj)
        with torch.no_grad():
            weight = torch.cat([p.weight for p in projections])
            bias = torch.cat([p.bias for p in projections])
            start = 0
            for p in projections:
                end = start + p.weight.shape[0]
                p.weight.data, p.bias.data = weight[start:end], bias[start:end]
                start = end
        return weight, bias

    def embed(self, token_ids: Tensor) -> Tensor:
        """int64 [num_tokens] to [num_tokens, hidden]."""
        return F.embedding(token_ids, self._embed)

    def rotation(self, positions: Tensor) -> Tensor:
        """Complex turns [num_rows, 1, rotary_dim / 2] for int positions [3, num_rows]."""
        angles = positions.float()[self._axes].T * self._inv_freq
        return torch.polar(torch.full_like(angles, self._rope_scale), angles).unsqueeze(1)

    def forward(self, step: StepInput, pool: Tensor) -> Tensor:
        """Write the step's keys and values into the pool and return logits [num_logits, vocab].

        pool: [num_layers, 2, num_kv_heads, pool_tokens, head_dim]. Logits are in the model's dtype.
        """
        turns = self.rotation(step.positions)
        hidden = step.embeds
        for index, layer in enumerate(self._layers):
            normed = rms_norm(hidden, layer.input_layernorm)
            q, k, v = self._project(index, normed, turns)
            keys, values = pool[index, 0], pool[index, 1]
            keys.index_copy_(1, step.places, k.transpose(0, 1))
            values.index_copy_(1, step.places, v.transpose(0, 1))
            mixed = attend(q, k, v, keys, values, step.plan, scale=self.scale)
            hidden = self._finish_layer(layer, hidden, mixed)
        hidden = rms_norm(hidden[step.logit_rows], self._norm)
        return F.linear(hidden, self._head)

    def _project(self, index: int, normed: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias = self._qkv[index]
        heads = F.linear(normed, weight, bias).view(len(normed), -1, self.head_dim)
        rotated = heads[:, : self.num_heads + self.num_kv_heads]
        rotate_pairs_(rotated, turns)
        q, k = rotated[:, : self.num_heads], rotated[:, self.num_heads :]
        return q, k, heads[:, self.num_heads + self.num_kv_heads :]

    def _finish_layer(self, layer: Any, hidden: Tensor, mixed: Tensor) -> Tensor:
        attended = F.linear(mixed, layer.self_attn.o_proj.weight)
        hidden = hidden + rms_norm(attended, layer.post_self_attn_layernorm)
        normed = rms_norm(hidden, layer.post_attention_layernorm)
        gate, up = F.linear(normed, layer.mlp.gate_up_proj.weight).chunk(2, dim=-1)
        wide = up * layer.mlp.activation_fn(gate)
        return hidden + rms_norm(
            F.linear(wide, layer.mlp.down_proj.weight), layer.post_mlp_layernorm
        )


def rotate_pairs_(heads: Tensor, turns: Tensor) -> None:
    """Turn neighbouring pairs of the leading rotary dimensions in place.

    heads [num_rows, num_heads, dim] (a view is fine), turns complex [num_rows, 1, rotary_dim / 2].
    """
    rotary = heads[..., : 2 * turns.shape[-1]]
    pairs = (*rotary.shape[:-1], turns.shape[-1], 2)
    if heads.dtype == torch.float32:
        torch.view_as_complex(rotary.view(pairs)).mul_(turns)
        return
    turned = torch.view_as_complex(rotary.float().view(pairs)) * turns
    rotary.copy_(torch.view_as_real(turned).flatten(-2))
