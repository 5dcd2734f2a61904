"""Qwen3-VL: patches of 16 px, features of three vision depths, rotary axes interleaved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.model.answer_text import END_THINK, THINK
from glyph_worker.model.families.family import Family
from glyph_worker.model.families.qwen2_5_vl import qwen_layer, refuse_moving_rope
from glyph_worker.model.grid_tower import GridTower, turned_heads
from glyph_worker.model.language_parts import (
    LanguageParts,
    axes_interleaved,
    rotary_language,
    rotary_sections,
)
from glyph_worker.model.linear import Linear
from glyph_worker.model.norms import layer_norm
from glyph_worker.model.processor import Grid, ProcessorConfig, grid_processor
from glyph_worker.model.vision_parts import (
    MakeLinear,
    Patches,
    cut_patches,
    linear_of,
)


@dataclass(frozen=True, slots=True)
class _Merger:
    module: Any
    first: Linear
    last: Linear

    def __call__(self, hidden: Tensor, merged: int) -> Tensor:
        """[num_pages, num_patches, dim] to [num_pages, num_patches / merged, out]."""
        width = merged * hidden.shape[-1]
        if self.module.use_postshuffle_norm:
            x = layer_norm(hidden.reshape(hidden.shape[0], -1, width), self.module.norm)
        else:
            x = layer_norm(hidden, self.module.norm).view(hidden.shape[0], -1, width)
        return self.last(F.gelu(self.first(x)))


@dataclass(frozen=True, slots=True)
class _Block:
    module: Any
    qkv: Linear
    out: Linear
    wide: Linear
    down: Linear
    deep: _Merger | None
    """Makes what the language model's first layers are given of this depth."""


@dataclass(frozen=True, slots=True)
class _Tables:
    position: Tensor  # [num_patches, hidden], the learned table sampled at this grid
    cos: Tensor  # [num_patches, 1, head_dim // 2]
    sin: Tensor


class _Tower(GridTower):
    """The library's `Qwen3VLVisionModel`; its weights are shared.

    Features of a page are [num_tokens, (1 + num_deep) * hidden]: the last layer's, then those of
    each depth.
    """

    def __init__(self, model: Any, processor: ProcessorConfig) -> None:
        super().__init__(model.model.visual, processor)

    def lay_out(self, make: MakeLinear) -> None:
        visual, depths = self.visual, list(self.visual.deepstack_visual_indexes)

        def merger(module: Any) -> _Merger:
            return _Merger(
                module, linear_of(module.linear_fc1, make), linear_of(module.linear_fc2, make)
            )

        self._patch = Patches(visual.patch_embed.proj, self.processor, make)
        self._blocks = [
            _Block(
                module=module,
                qkv=linear_of(module.attn.qkv, make),
                out=linear_of(module.attn.proj, make),
                wide=linear_of(module.mlp.linear_fc1, make),
                down=linear_of(module.mlp.linear_fc2, make),
                deep=merger(visual.deepstack_merger_list[depths.index(index)])
                if index in depths
                else None,
            )
            for index, module in enumerate(visual.blocks)
        ]
        self._merger = merger(visual.merger)

    def forward(self, pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        tables, merge = self._tables[grid], self.processor.merge_size
        hidden = self._patch(cut_patches(pixels, grid, self.processor.patch_size, merge, dtype))
        hidden = hidden + tables.position.to(dtype)
        num_pages = pixels.shape[0]
        rows = hidden.flatten(0, 1)  # [num_pages * num_patches, dim]
        cos, sin = tables.cos.repeat(num_pages, 1, 1), tables.sin.repeat(num_pages, 1, 1)
        deep = []
        for block in self._blocks:
            heads = self._before(block, rows, cos, sin)
            mixed = self._attend(block.module.attn.scaling, *heads, num_pages)
            rows = self._after(block, rows, mixed)
            if block.deep is not None:
                deep.append(block.deep(rows.view(hidden.shape), merge * merge))
        return torch.cat([self._merger(rows.view(hidden.shape), merge * merge), *deep], dim=-1)

    @staticmethod
    def before(
        block: _Block, rows: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        qkv = block.qkv(layer_norm(rows, block.module.norm1))
        return turned_heads(block.module.attn, qkv, cos, sin)

    @staticmethod
    def after(block: _Block, rows: Tensor, mixed: Tensor) -> Tensor:
        rows = rows + block.out(mixed)
        wide = block.wide(layer_norm(rows, block.module.norm2))
        return rows + block.down(block.module.mlp.act_fn(wide))

    def _make_tables(self, grid: Grid) -> _Tables:
        y, x, angle = self._place_angles(grid)
        table = self.visual.pos_embed.weight.detach().float()
        side = round(table.shape[0] ** 0.5)
        square = table.view(1, side, side, -1).permute(0, 3, 1, 2)
        sampled = F.interpolate(square, size=grid, mode="bilinear", align_corners=True)
        position = sampled[0][:, y, x].T.to(self.dtype).contiguous()
        return _Tables(position, angle.cos(), angle.sin())


def _language(model: Any) -> LanguageParts:
    num_pairs = len(model.model.language_model.rotary_emb.inv_freq)
    return rotary_language(
        model,
        qwen_layer,
        axes_interleaved(rotary_sections(model), num_pairs),
        halves=True,
        num_deep=len(model.model.visual.deepstack_visual_indexes),
    )


def _refuse(config: Mapping[str, Any]) -> str | None:
    text = config.get("text_config")
    if not isinstance(text, dict):
        # The library would build its default of 8 B parameters in place of what is missing.
        return "its config.json has no text_config; download the checkpoint's present revision"
    return refuse_moving_rope(text)


QWEN3_VL = Family(
    name="qwen3_vl",
    classes={"qwen3_vl": "Qwen3VLForConditionalGeneration"},
    revision="qwen3_vl-1",
    checkpoints=(
        "Qwen/Qwen3-VL-2B-Instruct",
        "Qwen/Qwen3-VL-4B-Instruct",
        "Qwen/Qwen3-VL-8B-Instruct",
        "Qwen/Qwen3-VL-8B-Thinking",
    ),
    refuse=_refuse,
    processor=grid_processor(
        # Those of the published checkpoints; the library's class is Qwen2-VL's.
        patch_size=16,
        shortest_edge=256 * 256,
        longest_edge=4_096 * 4_096,
        counts_frames=False,
    ),
    tower=_Tower,
    language=_language,
    end_words=("<|im_end|>", "<|endoftext|>"),
    tags=(THINK, END_THINK),
)
