"""BLIP-2 on OPT: 224 x 224 px seen as 32 tokens by a Q-Former; learned positions, no template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glyph_worker.model.families.family import Family, PlainFrame
from glyph_worker.model.grid_tower import BlockTower
from glyph_worker.model.language_parts import LanguageParts, LayerParts
from glyph_worker.model.linear import Linear, slow_dtypes
from glyph_worker.model.norms import Norm, layer_norm
from glyph_worker.model.processor import Grid, ProcessorConfig, SquareProcessor, normalising
from glyph_worker.model.vision_parts import (
    MakeLinear,
    cut_patches,
    folded_patches,
    linear_of,
    patch_attention,
)


@dataclass(frozen=True, slots=True)
class _Block:
    module: Any
    qkv: Linear
    out: Linear
    wide: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class _Attention:
    """Of the Q-Former: queries on themselves, or on the picture."""

    module: Any
    query: Linear
    key: Linear
    value: Linear
    out: Linear


@dataclass(frozen=True, slots=True)
class _Layer:
    module: Any
    own: _Attention
    across: _Attention | None
    wide: Linear
    down: Linear


class _Tower(BlockTower):
    """The library's vision model, Q-Former and projection; their weights are shared.

    The Q-Former's weights are float32 in every format, as the library keeps them.
    """

    def __init__(self, model: Any, processor: ProcessorConfig) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self._embeddings = model.vision_model.embeddings
        self.device: torch.device = self._embeddings.patch_embedding.weight.device
        self.dtype: torch.dtype = self._embeddings.patch_embedding.weight.dtype
        self._slow = slow_dtypes(self.device)

    def lay_out(self, make: MakeLinear) -> None:
        model = self.model
        self._patch = make(*folded_patches(self._embeddings.patch_embedding, self.processor))
        self._blocks = [
            _Block(
                module=module,
                qkv=linear_of(module.self_attn.qkv, make),
                out=linear_of(module.self_attn.projection, make),
                wide=linear_of(module.mlp.fc1, make),
                down=linear_of(module.mlp.fc2, make),
            )
            for module in model.vision_model.encoder.layers
        ]

        def attention(module: Any) -> _Attention:
            return _Attention(
                module,
                query=linear_of(module.attention.query, make),
                key=linear_of(module.attention.key, make),
                value=linear_of(module.attention.value, make),
                out=linear_of(module.output.dense, make),
            )

        self._layers = [
            _Layer(
                module=module,
                own=attention(module.attention),
                across=attention(module.crossattention) if module.has_cross_attention else None,
                wide=linear_of(module.intermediate_query.dense, make),
                down=linear_of(module.output_query.dense, make),
            )
            for module in model.qformer.encoder.layer
        ]
        self._project = linear_of(model.language_projection, make)

    def prepare(self, grid: Grid) -> None:
        """There is one grid, and its positions are a weight."""

    def forward(self, pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        seen = self._see(pixels, grid, dtype)
        former = self.model.qformer
        wide = former.layernorm.weight.dtype
        seen = seen.to(wide)
        queries = layer_norm(self.model.query_tokens.to(wide), former.layernorm)
        hidden = queries.expand(pixels.shape[0], -1, -1)  # [num_pages, num_tokens, dim]
        for layer in self._layers:
            hidden = self._query(layer.own, hidden, hidden)
            if layer.across is not None:
                hidden = self._query(layer.across, hidden, seen)
            inner = layer.module.intermediate_query.intermediate_act_fn(layer.wide(hidden))
            hidden = layer_norm(layer.down(inner) + hidden, layer.module.output_query.LayerNorm)
        return self._project(hidden.to(dtype))

    def _see(self, pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        """The picture's patches, the class token first: [num_pages, 1 + num_patches, dim]."""
        x = cut_patches(pixels, grid, self.processor.patch_size, 1, dtype)
        first = self._embeddings.class_embedding.to(dtype).expand(pixels.shape[0], 1, -1)
        hidden = torch.cat([first, self._patch(x)], dim=1)
        hidden = hidden + self._embeddings.position_embedding.to(dtype)
        rows = hidden.flatten(0, 1)  # [num_pages * (1 + num_patches), dim]
        none = rows.new_empty(0)  # nothing turns: positions were added
        for block in self._blocks:
            heads = self._before(block, rows, none, none)
            mixed = self._attend(block.module.self_attn.scale, *heads, len(hidden))
            rows = self._after(block, rows, mixed)
        return layer_norm(rows, self.model.vision_model.post_layernorm).view(hidden.shape)

    @staticmethod
    def before(
        block: _Block, rows: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        qkv = block.qkv(layer_norm(rows, block.module.layer_norm1))
        q, k, v = qkv.view(len(rows), 3, block.module.self_attn.num_heads, -1).unbind(1)
        return q, k, v

    @staticmethod
    def after(block: _Block, rows: Tensor, mixed: Tensor) -> Tensor:
        rows = rows + block.out(mixed)
        wide = block.wide(layer_norm(rows, block.module.layer_norm2))
        return rows + block.down(block.module.mlp.activation_fn(wide))

    def _query(self, attention: _Attention, hidden: Tensor, seen: Tensor) -> Tensor:
        module = attention.module
        heads = module.attention.num_attention_heads
        mixed = patch_attention(
            attention.query(hidden).view(*hidden.shape[:2], heads, -1),
            attention.key(seen).view(*seen.shape[:2], heads, -1),
            attention.value(seen).view(*seen.shape[:2], heads, -1),
            scale=module.attention.scaling,
            fused=self.fused_attention,
            slow=self._slow,
        )
        return layer_norm(attention.out(mixed) + hidden, module.output.LayerNorm)


def _language(model: Any) -> LanguageParts:
    decoder = model.language_model.model.decoder
    config, attn = decoder.config, decoder.layers[0].self_attn
    return LanguageParts(
        layers=tuple(
            LayerParts(
                attention_norm=Norm(layer.self_attn_layer_norm),
                query=layer.self_attn.q_proj,
                key=layer.self_attn.k_proj,
                value=layer.self_attn.v_proj,
                out=layer.self_attn.out_proj,
                mlp_norm=Norm(layer.final_layer_norm),
                wide=(layer.fc1,),
                gated=False,
                activation=layer.activation_fn,
                down=layer.fc2,
            )
            for layer in decoder.layers
        ),
        embed=decoder.embed_tokens.weight,
        final_norm=Norm(decoder.final_layer_norm),
        head=model.language_model.lm_head,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        head_dim=attn.head_dim,
        scale=attn.head_dim**-0.5,
        # The table's first two rows are OPT's padding offset.
        learned_positions=decoder.embed_positions.weight[2:],
    )


def _refuse(config: Mapping[str, Any]) -> str | None:
    text = config.get("text_config")
    if not isinstance(text, dict):
        # The library would build its default in place of what is missing.
        return "its config.json has no text_config; download the checkpoint's present revision"
    if text.get("model_type", "opt") != "opt":
        return (
            f"its language model is {text['model_type']!r}; of BLIP-2, those on OPT are read "
            "(blip2-opt-2.7b, blip2-opt-6.7b): T5's encoder reads question and page together"
        )
    if config.get("image_token_index") is None:
        return "its config.json has no image_token_index; download the present revision"
    if text.get("do_layer_norm_before") is False or text.get("_remove_final_layer_norm"):
        return "its OPT normalises after each layer (opt-350m's form), which is not read"
    if text.get("word_embed_proj_dim", text.get("hidden_size")) != text.get("hidden_size"):
        return "its OPT projects its embeddings (opt-350m's form), which is not read"
    return None


def _processor(stated: Mapping[str, Any], config: Mapping[str, Any]) -> ProcessorConfig:
    size = stated["size"]
    if size["height"] != size["width"]:
        raise ValueError(f"the model sees {size}, which is no square")
    return SquareProcessor(
        patch_size=int((config.get("vision_config") or {}).get("patch_size", 14)),
        merge_size=1,
        temporal_patch_size=1,
        min_pixels=int(size["height"]) * int(size["width"]),
        max_pixels=int(size["height"]) * int(size["width"]),
        num_tokens=int(config.get("num_query_tokens", 32)),
        **normalising(stated),
    )


BLIP2 = Family(
    name="blip2",
    classes={"blip-2": "Blip2ForConditionalGeneration"},
    revision="blip2-1",
    checkpoints=("Salesforce/blip2-opt-2.7b", "Salesforce/blip2-opt-6.7b"),
    refuse=_refuse,
    processor=_processor,
    tower=_Tower,
    language=_language,
    planar_positions=False,
    # The frame of the authors' own examples of question answering.
    frame=PlainFrame(before="Question: ", after=" Answer:"),
)
