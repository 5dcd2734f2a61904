"""Qwen2.5-VL: windows of 112 px in most vision layers, rotary halves in blocks of 16, 24, 24."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
from glyph_worker.model.norms import Norm, rms_norm
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
    whole: bool
    """Attends over the page, not within windows."""
    qkv: Linear
    out: Linear
    gate: Linear
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class _Tables:
    """Patches stand window by window, windows of one size together."""

    order: Tensor  # int64 [num_tokens]: the visual token at each place
    back: Tensor  # int64 [num_tokens]: the place of each visual token
    cos: Tensor  # [num_patches, 1, head_dim // 2], in that order
    sin: Tensor
    windows: tuple[tuple[int, int], ...]
    """How many windows of how many patches, one after the other."""


class _Tower(GridTower):
    """The library's `Qwen2_5_VisionTransformerPretrainedModel`; its weights are shared."""

    def __init__(self, model: Any, processor: ProcessorConfig) -> None:
        super().__init__(model.model.visual, processor)

    def lay_out(self, make: MakeLinear) -> None:
        visual = self.visual
        self._patch = Patches(visual.patch_embed.proj, self.processor, make)
        self._blocks = [
            _Block(
                module=module,
                whole=index in visual.fullatt_block_indexes,
                qkv=linear_of(module.attn.qkv, make),
                out=linear_of(module.attn.proj, make),
                gate=linear_of(module.mlp.gate_proj, make),
                up=linear_of(module.mlp.up_proj, make),
                down=linear_of(module.mlp.down_proj, make),
            )
            for index, module in enumerate(visual.blocks)
        ]
        self._merge_in = linear_of(visual.merger.mlp[0], make)
        self._merge_out = linear_of(visual.merger.mlp[2], make)

    def forward(self, pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        visual, tables, merge = self.visual, self._tables[grid], self.processor.merge_size
        num_pages = pixels.shape[0]
        x = cut_patches(pixels, grid, self.processor.patch_size, merge, dtype)
        x = x.view(num_pages, len(tables.order), merge * merge, -1)[:, tables.order]
        rows = self._patch(x.flatten(1, 2)).flatten(0, 1)  # [num_pages * num_patches, dim]
        cos, sin = tables.cos.repeat(num_pages, 1, 1), tables.sin.repeat(num_pages, 1, 1)
        for block in self._blocks:
            heads = self._before(block, rows, cos, sin)
            mixed = self._attend_within(block, heads, tables, num_pages)
            rows = self._after(block, rows, mixed)
        merged = rms_norm(rows, visual.merger.ln_q).view(num_pages, len(tables.order), -1)
        return self._merge_out(F.gelu(self._merge_in(merged)))[:, tables.back]

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

    def _attend_within(
        self, block: _Block, heads: tuple[Tensor, Tensor, Tensor], tables: _Tables, num_pages: int
    ) -> Tensor:
        """Attention over pages or, in most blocks, within windows: [num_rows, width]."""
        scale = block.module.attn.scaling
        if block.whole:
            return self._attend(scale, *heads, num_pages)
        pages = [x.view(num_pages, -1, *x.shape[1:]) for x in heads]
        mixed = []
        start = 0
        for count, size in tables.windows:
            here = slice(start, start + count * size)
            q, k, v = (page[:, here].flatten(0, 1) for page in pages)
            mixed.append(
                self._attend(scale, q, k, v, num_pages * count).view(
                    num_pages, -1, q.shape[1] * q.shape[2]
                )
            )
            start += count * size
        return (torch.cat(mixed, dim=1) if len(mixed) > 1 else mixed[0]).flatten(0, 1)

    def _make_tables(self, grid: Grid) -> _Tables:
        merge = self.processor.merge_size
        side = self.visual.window_size // merge // self.processor.patch_size
        rows, columns = grid[0] // merge, grid[1] // merge
        ids = torch.arange(rows * columns).view(rows, columns)
        windows = [
            ids[top : top + side, left : left + side].flatten()
            for top in range(0, rows, side)
            for left in range(0, columns, side)
        ]
        windows.sort(key=len, reverse=True)  # stable: equal ones keep their order on the page
        sizes = [len(window) for window in windows]
        order = torch.cat(windows).to(self.device)
        _, _, angle = self._place_angles(grid)
        angle = angle.view(len(order), merge * merge, 1, -1)[order].flatten(0, 1)
        return _Tables(
            order=order,
            back=torch.argsort(order),
            cos=angle.cos(),
            sin=angle.sin(),
            windows=tuple(
                (sizes.count(size), size * merge * merge)
                for size in sorted(set(sizes), reverse=True)
            ),
        )


def _language(model: Any) -> LanguageParts:
    return rotary_language(model, qwen_layer, axes_in_blocks(rotary_sections(model)), halves=True)


def qwen_layer(layer: Any) -> LayerParts:
    """A decoder layer of Qwen2.5 or, with norms over its heads, of Qwen3."""
    attn, mlp = layer.self_attn, layer.mlp
    has_head_norms = hasattr(attn, "q_norm")
    return LayerParts(
        attention_norm=Norm(layer.input_layernorm),
        query=attn.q_proj,
        key=attn.k_proj,
        value=attn.v_proj,
        query_norm=Norm(attn.q_norm) if has_head_norms else None,
        key_norm=Norm(attn.k_norm) if has_head_norms else None,
        out=attn.o_proj,
        mlp_norm=Norm(layer.post_attention_layernorm),
        wide=(mlp.gate_proj, mlp.up_proj),
        gated=True,
        activation=mlp.act_fn,
        down=mlp.down_proj,
    )


def refuse_moving_rope(text: Mapping[str, Any]) -> str | None:
    """Rotary frequencies that change with the prompt's length would change cached keys."""
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type"))
    if kind in ("dynamic", "longrope"):
        return f"its rotary embedding is {kind!r}, which changes with a prompt's length"
    return None


def _refuse(config: Mapping[str, Any]) -> str | None:
    # Published configurations state the text half flat, the library's own nested.
    text = config.get("text_config") or config
    if text.get("use_sliding_window"):
        return "it uses sliding-window attention (use_sliding_window)"
    if "hidden_size" not in text or "vision_config" not in config:
        return "its config.json lacks hidden_size or vision_config; download it again"
    return refuse_moving_rope(text)


QWEN2_5_VL = Family(
    name="qwen2_5_vl",
    classes={"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration"},
    revision="qwen2_5_vl-1",
    checkpoints=(
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Qwen2.5-VL-32B-Instruct",
    ),
    refuse=_refuse,
    processor=grid_processor(
        # Defaults of the library's Qwen2-VL image processor.
        patch_size=14,
        shortest_edge=56 * 56,
        longest_edge=28 * 28 * 1_280,
        counts_frames=False,
    ),
    tower=_Tower,
    language=_language,
    end_words=("<|im_end|>", "<|endoftext|>"),
)
