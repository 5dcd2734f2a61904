"""GLM-4.1V, GLM-4.6V, GLM-OCR, and Glyph: square attention over 14-px patches, sandwich norms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.model.answer_text import TAGS
from glyph_worker.model.families.family import Family
from glyph_worker.model.grid_tower import GridTower, turned_heads
from glyph_worker.model.language_parts import (
    LanguageParts,
    LayerParts,
    axes_in_blocks,
    rotary_language,
    rotary_sections,
)
from glyph_worker.model.linear import Linear
from glyph_worker.model.norms import Norm, layer_norm, rms_norm
from glyph_worker.model.processor import Grid, ProcessorConfig, grid_processor
from glyph_worker.model.vision_parts import (
    MakeLinear,
    Patches,
    cut_patches,
    linear_of,
)


@dataclass(frozen=True, slots=True)
class _Block:
    module: Any
    qkv: Linear
    out: Linear
    gate: Linear
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class _Tables:
    position: Tensor | None  # [num_patches, hidden], the learned table sampled at this grid
    cos: Tensor  # [num_patches, 1, head_dim // 2]
    sin: Tensor


class _Tower(GridTower):
    """The library's `Glm4vVisionModel` or `GlmOcrVisionModel`; its weights are shared."""

    def __init__(self, model: Any, processor: ProcessorConfig) -> None:
        super().__init__(model.model.visual, processor)
        # GLM-OCR has no learned positions.
        self._has_positions = hasattr(self.visual, "embeddings")

    def lay_out(self, make: MakeLinear) -> None:
        visual, merger = self.visual, self.visual.merger
        self._patch = Patches(visual.patch_embed.proj, self.processor, make)
        down = visual.downsample.weight  # [out, hidden, merge, merge]
        self._downsample = make(
            down.detach().permute(0, 2, 3, 1).flatten(1).contiguous(), visual.downsample.bias
        )
        self._blocks = [
            _Block(
                module=module,
                qkv=linear_of(module.attn.qkv, make),
                out=linear_of(module.attn.proj, make),
                gate=linear_of(module.mlp.gate_proj, make),
                up=linear_of(module.mlp.up_proj, make),
                down=linear_of(module.mlp.down_proj, make),
            )
            for module in visual.blocks
        ]
        self._merge_in = linear_of(merger.proj, make)
        self._merge_gate = linear_of(merger.gate_proj, make)
        self._merge_up = linear_of(merger.up_proj, make)
        self._merge_out = linear_of(merger.down_proj, make)

    def forward(self, pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        visual, tables, merge = self.visual, self._tables[grid], self.processor.merge_size
        num_pages = pixels.shape[0]
        hidden = self._patch(cut_patches(pixels, grid, self.processor.patch_size, merge, dtype))
        if tables.position is not None:
            hidden = rms_norm(hidden, visual.post_conv_layernorm)
            hidden = hidden + tables.position.to(dtype)
        rows = hidden.flatten(0, 1)  # [num_pages * num_patches, dim]
        cos, sin = tables.cos.repeat(num_pages, 1, 1), tables.sin.repeat(num_pages, 1, 1)
        for block in self._blocks:
            heads = self._before(block, rows, cos, sin)
            mixed = self._attend(block.module.attn.scaling, *heads, num_pages)
            rows = self._after(block, rows, mixed)
        rows = rms_norm(rows, visual.post_layernorm)
        merged = rows.view(num_pages, -1, merge * merge * rows.shape[-1])
        merger = visual.merger
        merged = self._merge_in(self._downsample(merged))
        merged = F.gelu(layer_norm(merged, merger.post_projection_norm))
        return self._merge_out(merger.act_fn(self._merge_gate(merged)) * self._merge_up(merged))

    @staticmethod
    def before(
        block: _Block, rows: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        qkv = block.qkv(rms_norm(rows, block.module.norm1))
        return turned_heads(block.module.attn, qkv, cos, sin)

    @staticmethod
    def after(block: _Block, rows: Tensor, mixed: Tensor) -> Tensor:
        rows = rows + block.out(mixed)
        normed = rms_norm(rows, block.module.norm2)
        gated = block.module.mlp.act_fn(block.gate(normed)) * block.up(normed)
        return rows + block.down(gated)

    def _make_tables(self, grid: Grid) -> _Tables:
        y, x, angle = self._place_angles(grid)
        position = self._sampled_positions(y, x, grid) if self._has_positions else None
        return _Tables(position, angle.cos(), angle.sin())

    def _sampled_positions(self, y: Tensor, x: Tensor, grid: Grid) -> Tensor:
        rows, columns = grid
        table = self.visual.embeddings.position_embedding.weight.detach()
        side = round(table.shape[0] ** 0.5)
        square = table.view(side, side, -1).permute(2, 0, 1).unsqueeze(0).float()
        where = torch.stack([(x + 0.5) / columns * 2 - 1, (y + 0.5) / rows * 2 - 1], dim=-1)
        sampled = F.grid_sample(
            square,
            where.float()[None, :, None],
            mode="bicubic",
            align_corners=False,
            padding_mode="border",
        )
        return sampled[0, :, :, 0].T.to(self.dtype).contiguous()


def _layer(layer: Any) -> LayerParts:
    return LayerParts(
        attention_norm=Norm(layer.input_layernorm),
        query=layer.self_attn.q_proj,
        key=layer.self_attn.k_proj,
        value=layer.self_attn.v_proj,
        out=layer.self_attn.o_proj,
        out_norm=Norm(layer.post_self_attn_layernorm),
        mlp_norm=Norm(layer.post_attention_layernorm),
        wide=(layer.mlp.gate_up_proj,),
        gated=True,
        activation=layer.mlp.activation_fn,
        down=layer.mlp.down_proj,
        down_norm=Norm(layer.post_mlp_layernorm),
    )


def _language(model: Any) -> LanguageParts:
    return rotary_language(model, _layer, axes_in_blocks(rotary_sections(model)), halves=False)


def _refuse(config: Mapping[str, Any]) -> str | None:
    if not isinstance(config.get("text_config"), dict):
        # The library would build its default of 9 B parameters in place of what is missing.
        return "its config.json has no text_config; download the checkpoint's present revision"
    return None


GLM = Family(
    name="glm",
    classes={
        "glm4v": "Glm4vForConditionalGeneration",
        "glm46v": "Glm46VForConditionalGeneration",
        "glm_ocr": "GlmOcrForConditionalGeneration",
    },
    revision="1",
    checkpoints=(
        "zai-org/Glyph",
        "zai-org/GLM-4.1V-9B-Thinking",
        "zai-org/GLM-4.6V-Flash",
        "zai-org/GLM-OCR",
    ),
    refuse=_refuse,
    processor=grid_processor(
        # Defaults of the library's Glm4v image processor.
        patch_size=14,
        shortest_edge=112 * 112,
        longest_edge=28 * 28 * 15_000,
        counts_frames=True,
    ),
    tower=_Tower,
    language=_language,
    end_words=("<|user|>",),  # a turn of the user ends the answer in every template of theirs
    tags=TAGS,
)
