"""The language half: one forward over the packed tokens of a step. Owns no cache, no schedule.

Rows of a step are tokens of any sequences: one per decoding sequence, many per prefilled chunk.
All linear layers see one [num_rows, hidden] matrix; only attention knows who belongs to whom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.model.attention import AttentionPlan
from glyph_worker.model.kernels import Kernels, TorchKernels
from glyph_worker.model.linear import Int8Linear, Linear, PackedLinear, PlainLinear
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
    logit_rows: Tensor | None
    """int64 [num_logits]: rows whose next token is asked for; None is all of them."""
    plan: AttentionPlan


WeightForm = Literal["plain", "packed", "int8"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's matrices, and the library's module for its norms."""

    module: Any
    qkv: Linear
    """All query heads, then key heads, then value heads."""
    out: Linear
    gate_up: Linear
    down: Linear
    following_norm: Any
    """The next layer's first norm, or the model's last."""


class LanguageModel:
    """Own forward over the library's text weights. Not thread-safe: the engine's thread owns it."""

    def __init__(self, model: Any, *, form: WeightForm = "plain") -> None:
        """`model` is the library's `Glm4vForConditionalGeneration`, in evaluation mode.

        In the form `int8` the library's matrices are freed, and its own forward with them.
        """
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
        self._norm = text.norm
        self.device = self._embed.device
        self.dtype = self._embed.dtype
        rotary = text.rotary_emb
        self._inv_freq = rotary.inv_freq.float().to(self.device)  # [rotary_dim / 2]
        self._rope_scale = float(rotary.attention_scaling)
        # Section i of the frequencies turns with axis i % 3 (time, height, width).
        axes = [i % 3 for i, size in enumerate(rotary.mrope_section) for _ in range(size)]
        self._axes = torch.tensor(axes, device=self.device)
        forms: dict[WeightForm, Callable[[Tensor, Tensor | None], Linear]] = {
            "plain": PlainLinear,
            "packed": PackedLinear,
            "int8": Int8Linear,
        }
        make = forms[form]
        self.form = form
        self.num_matrix_bytes = 0
        """Of matrices that are no longer among the library's parameters."""
        following = [*(module.input_layernorm for module in text.layers[1:]), self._norm]
        self._layers = [
            self._prepare(module, norm, make)
            for module, norm in zip(text.layers, following, strict=True)
        ]
        self.kernels: Kernels = TorchKernels()
        self._head = make(model.lm_head.weight, None)

    def _prepare(
        self, module: Any, norm: Any, make: Callable[[Tensor, Tensor | None], Linear]
    ) -> Layer:
        layer = Layer(
            module=module,
            qkv=make(*self._fuse(module.self_attn)),
            out=make(module.self_attn.o_proj.weight, None),
            gate_up=make(module.mlp.gate_up_proj.weight, None),
            down=make(module.mlp.down_proj.weight, None),
            following_norm=norm,
        )
        if self.form == "int8":
            for owner in (module.self_attn, module.mlp):
                for matrix in owner.children():
                    if hasattr(matrix, "weight"):
                        matrix.weight.data = matrix.weight.data.new_empty(0)
            self.num_matrix_bytes += sum(
                matrix.num_bytes
                for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down)
                if isinstance(matrix, Int8Linear)
            )
        return layer

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
        # Indexing after the transpose keeps rows contiguous, as the fused kernel reads them.
        angles = positions.T.float()[:, self._axes] * self._inv_freq
        return torch.polar(torch.full_like(angles, self._rope_scale), angles).unsqueeze(1)

    def forward(self, step: StepInput, pool: Tensor) -> Tensor:
        """Write the step's keys and values into the pool and return logits [num_logits, vocab].

        pool: [num_layers, 2, num_kv_heads, pool_tokens, head_dim]. Logits are in the step's dtype.
        """
        kernels = self.kernels
        turns = self.rotation(step.positions)
        hidden = step.embeds
        normed = rms_norm(hidden, self._layers[0].module.input_layernorm)
        for index, layer in enumerate(self._layers):
            module, keys, values = layer.module, pool[index, 0], pool[index, 1]
            heads = layer.qkv(normed).view(len(normed), -1, self.head_dim)
            kernels.rotate_and_store(heads, turns, step.places, keys, values)
            mixed = kernels.attend(heads, keys, values, step.plan, self.scale)
            hidden, normed = kernels.add_norms(
                hidden,
                layer.out(mixed),
                module.post_self_attn_layernorm,
                module.post_attention_layernorm,
            )
            wide = kernels.gate(layer.gate_up(normed), module.mlp.activation_fn)
            hidden, normed = kernels.add_norms(
                hidden, layer.down(wide), module.post_mlp_layernorm, layer.following_norm
            )
        return self._head(normed if step.logit_rows is None else normed[step.logit_rows])
