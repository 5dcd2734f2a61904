"""Vision towers as blocks around an attention, and over a grid of patches. No family by name.

A block is computed in two halves, before its attention and after it, over the rows of all pages of
a micro-batch at once: [num_pages * num_patches, width]. Neither half knows how many pages there are
or how high, so each is compiled once, for every page that will ever come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
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


class BlockTower(ABC):
    """What all towers share: halves of blocks, plain or compiled.

    A family gives the halves as static methods, so that nothing but a block's weights and the rows
    is compiled into them. Both must be the same code for every block.
    """

    fused_attention = True
    _slow: tuple[torch.dtype, ...]

    def __init__(self) -> None:
        self.run_plain()

    @staticmethod
    @abstractmethod
    def before(block: Any, rows: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [num_rows, heads, head_dim] each, of rows [num_rows, dim].

        cos and sin [num_rows, 1, head_dim // 2] turn the former two; empty where nothing turns.
        """

    @staticmethod
    @abstractmethod
    def after(block: Any, rows: Tensor, mixed: Tensor) -> Tensor:
        """The block's output [num_rows, dim]; `mixed` [num_rows, dim] is what attention made."""

    def run_plain(self) -> None:
        """Compute the halves as they are written."""
        self._before: Callable[..., tuple[Tensor, Tensor, Tensor]] = type(self).before
        self._after: Callable[..., Tensor] = type(self).after

    def compile(self, **options: Any) -> None:
        """Compile both halves at their next use, the number of rows left open."""
        before = torch.compile(type(self).before, fullgraph=True, **options)
        after = torch.compile(type(self).after, fullgraph=True, **options)

        def open_before(block: Any, *tensors: Tensor) -> Any:
            return before(block, *_with_open_rows(tensors))

        def open_after(block: Any, *tensors: Tensor) -> Any:
            return after(block, *_with_open_rows(tensors))

        self._before, self._after = open_before, open_after

    def _attend(self, scale: float, q: Tensor, k: Tensor, v: Tensor, num_pages: int) -> Tensor:
        """All patches of a page, or of a window of one, on all: [num_rows, heads, head_dim] to
        [num_rows, width]."""
        q, k, v = (x.view(num_pages, -1, *x.shape[1:]) for x in (q, k, v))
        mixed = patch_attention(q, k, v, scale=scale, fused=self.fused_attention, slow=self._slow)
        return mixed.flatten(0, 1)


def _with_open_rows(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    for tensor in tensors:
        if tensor.shape[0] > 1:
            torch._dynamo.mark_dynamic(tensor, 0)
    return tensors


class GridTower(BlockTower):
    """What towers over a page's grid of patches share: turned heads, tables kept by grid.

    `visual` is the library's vision model; its weights are shared.
    """

    def __init__(self, visual: Any, processor: ProcessorConfig) -> None:
        super().__init__()
        self.visual = visual
        self.processor = processor
        self.device: torch.device = visual.patch_embed.proj.weight.device
        self.dtype: torch.dtype = visual.patch_embed.proj.weight.dtype
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


def turned_heads(attn: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [num_rows, heads, head_dim]; the former two are turned, after norms
    over heads where the module has them."""
    q, k, v = qkv.view(qkv.shape[0], 3, attn.num_heads, -1).unbind(1)
    if hasattr(attn, "q_norm"):
        q, k = rms_norm(q, attn.q_norm), rms_norm(k, attn.k_norm)
    return rotate_halves(q, cos, sin), rotate_halves(k, cos, sin), v
