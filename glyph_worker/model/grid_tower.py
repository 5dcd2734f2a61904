"""A vision tower over a page's grid of patches: what GLM's and Qwen's share. No family by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from glyph_worker.model.linear import slow_dtypes
from glyph_worker.model.norms import rms_norm
from glyph_worker.model.processor import Grid, ProcessorConfig
from glyph_worker.model.vision_parts import (
    block_coordinates,
    patch_angles,
    patch_attention,
    rotate_halves,
)


class GridTower(ABC):
    """What towers over a page's grid of patches share: turned heads, tables kept by grid.

    `visual` is the library's vision model; its weights are shared.
    """

    def __init__(self, visual: Any, processor: ProcessorConfig) -> None:
        self.visual = visual
        self.processor = processor
        self.device: torch.device = visual.patch_embed.proj.weight.device
        self.dtype: torch.dtype = visual.patch_embed.proj.weight.dtype
        self.fused_attention = True
        self._slow = slow_dtypes(self.device)
        self._tables: dict[Grid, Any] = {}

    def prepare(self, grid: Grid) -> None:
        if grid not in self._tables:
            self._tables[grid] = self._make_tables(grid)

    @abstractmethod
    def _make_tables(self, grid: Grid) -> Any:
        """What a forward over this grid needs beside the pixels."""

    def _place_angles(self, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Rows and columns of the patches, int64 [num_patches], and the angles they are turned by,
        [num_patches, 1, head_dim // 2]."""
        y, x = block_coordinates(grid, self.processor.merge_size, self.device)
        return y, x, patch_angles(y, x, self.visual.rotary_pos_emb.inv_freq)

    @staticmethod
    def _heads(attn: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [num_pages, num_patches, heads, head_dim]; the former two are
        turned, after norms over heads where the module has them."""
        q, k, v = qkv.view(*qkv.shape[:2], 3, attn.num_heads, -1).unbind(2)
        if hasattr(attn, "q_norm"):
            q, k = rms_norm(q, attn.q_norm), rms_norm(k, attn.k_norm)
        return rotate_halves(q, cos, sin), rotate_halves(k, cos, sin), v

    def _attend(self, attn: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return patch_attention(
            q, k, v, scale=attn.scaling, fused=self.fused_attention, slow=self._slow
        )
