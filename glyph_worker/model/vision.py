"""Page pixels to visual tokens: an own forward over the library's weights. One grid at a time.

Pages are gray, so the three colour channels, the two copies of the frame, scaling and normalising
fold into one linear map on raw pixels: a page goes up as uint8 and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.errors import EngineFault
from glyph_worker.model.linear import Linear, PackedLinear, PlainLinear, slow_dtypes
from glyph_worker.model.processor import Grid, Page, ProcessorConfig
from glyph_worker.model.vision_graphs import VisionGraphs

log = structlog.get_logger(__name__)

ENCODER_REVISION = 1
"""Raise when the numbers this file computes change: cached page features are named by it."""


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
    position: Tensor  # [num_patches, hidden], the learned table sampled at this grid
    cos: Tensor  # [num_patches, 1, head_dim // 2]
    sin: Tensor


class VisionTower:
    """The vision half of a Glm4v model. Thread-safe: one forward at a time."""

    def __init__(
        self,
        visual: Any,
        processor: ProcessorConfig,
        *,
        max_patches: int = 16_384,
        compile_forward: bool = False,
        packed: bool = False,
    ) -> None:
        """`visual` is the library's `Glm4vVisionModel`; its weights are shared, not copied.

        `max_patches` bounds one micro-batch; on out-of-memory it is halved and the batch retried.
        """
        self.visual = visual
        self.processor = processor
        self.max_patches = max_patches
        self.device: torch.device = visual.patch_embed.proj.weight.device
        self.dtype: torch.dtype = visual.patch_embed.proj.weight.dtype
        self._slow = slow_dtypes(self.device)
        self.num_fallbacks = 0
        self.fused_attention = True
        """Off: every score in memory, to measure by."""
        self._lock = threading.Lock()
        self._stream = (
            torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            if self.device.type == "cuda"
            else None
        )
        self._tables: dict[Grid, _Tables] = {}
        self.lay_out(packed=packed)
        self._run: Callable[[Tensor, Grid, torch.dtype], Tensor] = self._forward
        self.refused_compile: str | None = None
        """Why the compiled forward is not used, after it failed once."""
        self.graphs: VisionGraphs | None = None
        if compile_forward:
            self.compile()

    def lay_out(self, *, packed: bool) -> None:
        """Take every matrix from the library's module, packed for the CPU or plain."""
        make: Callable[[Tensor, Tensor | None], Linear] = PackedLinear if packed else PlainLinear
        self._fold(make)
        self._blocks = [self._prepare(module, make) for module in self.visual.blocks]
        merger = self.visual.merger
        self._merge_in = make(merger.proj.weight, merger.proj.bias)
        self._merge_gate = make(merger.gate_proj.weight, merger.gate_proj.bias)
        self._merge_up = make(merger.up_proj.weight, merger.up_proj.bias)
        self._merge_out = make(merger.down_proj.weight, merger.down_proj.bias)

    def compile(self, **options: Any) -> None:
        """Compile the forward as one graph per grid, the number of pages left open.

        A forward that cannot be compiled falls back to the plain one, for good, and says why in
        `refused_compile`.
        """
        compiled = torch.compile(self._forward, fullgraph=True, dynamic=None, **options)

        def run(pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
            try:
                if pixels.shape[0] > 1:  # a dimension of size 1 is compiled apart
                    torch._dynamo.maybe_mark_dynamic(pixels, 0)
                return compiled(pixels, grid, dtype)
            except torch.OutOfMemoryError:
                raise
            except Exception as exc:  # noqa: BLE001  the compiler's faults are not the page's
                self.refused_compile = repr(exc)[:400]
                log.warning("vision.compile_refused", reason=self.refused_compile)
                self._run = self._forward
                return self._forward(pixels, grid, dtype)

        self._run = run

    def record(self, *, replay: bool = True) -> None:
        """Replay micro-batches that come again as CUDA graphs, of the compiled forward if it is.

        `replay=False` goes through the same buffers without a graph, on any device.
        """
        self.graphs = VisionGraphs(
            lambda pixels, grid, dtype: self._run(pixels, grid, dtype),
            dtype=self.dtype,
            replay=replay,
        )

    @staticmethod
    def _prepare(module: Any, make: Callable[[Tensor, Tensor | None], Linear]) -> _Block:
        attn, mlp = module.attn, module.mlp
        return _Block(
            module=module,
            qkv=make(attn.qkv.weight, attn.qkv.bias),
            out=make(attn.proj.weight, attn.proj.bias),
            gate=make(mlp.gate_proj.weight, mlp.gate_proj.bias),
            up=make(mlp.up_proj.weight, mlp.up_proj.bias),
            down=make(mlp.down_proj.weight, mlp.down_proj.bias),
        )

    def _fold(self, make: Callable[[Tensor, Tensor | None], Linear]) -> None:
        conv, config = self.visual.patch_embed.proj, self.processor
        weight = conv.weight.detach().double().sum(dim=2)  # [hidden, channels, patch, patch]
        mean = torch.tensor(config.mean, dtype=torch.float64, device=weight.device)
        std = torch.tensor(config.std, dtype=torch.float64, device=weight.device)
        # pixel = white + 255 * x with x in [-1, 0], so that a white patch is the bias alone.
        scale = (config.rescale_factor * 255 / std)[None, :, None, None]
        white = ((config.rescale_factor * 255 - mean) / std)[None, :, None, None]
        bias = (weight * white).sum(dim=(1, 2, 3)) + conv.bias.detach().double()
        folded = (weight * scale).sum(dim=1).flatten(1)
        self._patch = make(folded.to(self.dtype), bias.to(self.dtype))
        down = self.visual.downsample.weight  # [out, hidden, merge, merge]
        self._downsample = make(
            down.detach().permute(0, 2, 3, 1).flatten(1).contiguous(), self.visual.downsample.bias
        )

    def encode(self, pages: Sequence[Page]) -> list[Tensor]:
        """Visual tokens [num_tokens, hidden] of each page, on the device, in the model's dtype.

        Pages (uint8 [height, width], gray) may have any mix of sizes; equal grids run together.
        """
        fitted = [self._fit(page) for page in pages]
        buckets: dict[tuple[int, int], list[int]] = {}
        for index, page in enumerate(fitted):
            buckets.setdefault((page.shape[0], page.shape[1]), []).append(index)
        out: list[Tensor | None] = [None] * len(fitted)
        with self._lock, torch.inference_mode(), self._side_stream():
            for (height, width), members in buckets.items():
                patch = self.processor.patch_size
                grid = (height // patch, width // patch)
                start = 0
                while start < len(members):
                    size = max(1, self.max_patches // (grid[0] * grid[1]))
                    chosen = members[start : start + size]
                    try:
                        features = self._encode_grid([fitted[i] for i in chosen], grid)
                    except torch.OutOfMemoryError as exc:
                        if len(chosen) == 1:
                            raise EngineFault(
                                f"the device has no memory left to encode a page of {width} x "
                                f"{height} px alone; lower GLYPH_ENGINE_KV_BYTES to leave it more",
                                width=width,
                                height=height,
                            ) from exc
                        self.max_patches = max(1, len(chosen) // 2) * grid[0] * grid[1]
                        continue
                    for index, tokens in zip(chosen, features, strict=True):
                        out[index] = tokens
                    start += len(chosen)
        return [tokens for tokens in out if tokens is not None]

    @contextmanager
    def _side_stream(self) -> Iterator[None]:
        """On CUDA, work beside the engine's steps; what comes out is complete when this ends."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()

    def _fit(self, page: Page) -> Page:
        height, width = page.shape
        wide, tall = self.processor.fitted_size(width, height)
        if (wide, tall) == (width, height):
            return page
        from PIL import Image  # only pages of foreign sizes are resized, as the library would

        image = Image.fromarray(np.ascontiguousarray(page))
        return np.asarray(image.resize((wide, tall), Image.Resampling.BICUBIC), dtype=np.uint8)

    def _encode_grid(self, pages: Sequence[Page], grid: Grid) -> Sequence[Tensor]:
        stacked = torch.from_numpy(np.stack(pages))  # uint8 [num_pages, height, width]
        if self.device.type == "cuda":
            stacked = stacked.pin_memory()
        pixels = stacked.to(self.device, non_blocking=True)
        self._table(grid)
        if self.graphs is None:
            features = self._run(pixels, grid, self.dtype)  # [num_pages, num_tokens, hidden]
        else:
            max_pages = self.max_patches // (grid[0] * grid[1])
            features = self.graphs.run(pixels, grid, max_pages=max_pages)
        if self.dtype == torch.float16:
            features = self._mend(features, pixels, grid)
        if self._stream is not None:
            # The engine reads them on its stream: their memory may not be reused before that.
            features.record_stream(torch.cuda.default_stream(self.device))
        return features.unbind(0)

    def _mend(self, features: Tensor, pixels: Tensor, grid: Grid) -> Tensor:
        """Pages that overflowed float16 again in bfloat16; what is still too large is clamped."""
        broken = (~torch.isfinite(features.sum(dim=(1, 2), dtype=torch.float32))).nonzero()[:, 0]
        if len(broken) == 0:
            return features
        self.num_fallbacks += len(broken)
        again = self._forward(pixels[broken], grid, torch.bfloat16)
        largest = torch.finfo(torch.float16).max
        features = features.clone()
        features[broken] = again.float().clamp(-largest, largest).to(torch.float16)
        return features

    def _forward(self, pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        """uint8 [num_pages, height, width] to [num_pages, num_tokens, hidden] in `dtype`."""
        visual, tables = self.visual, self._tables[grid]
        patch, merge = self.processor.patch_size, self.processor.merge_size
        num_pages = pixels.shape[0]
        rows, columns = grid[0] // merge, grid[1] // merge
        # Patches in the order of the merger: the four of one visual token lie together.
        x = pixels.view(num_pages, rows, merge, patch, columns, merge, patch)
        x = x.permute(0, 1, 4, 2, 5, 3, 6).reshape(num_pages, grid[0] * grid[1], patch * patch)
        x = (x.to(torch.float32) / 255 - 1).to(dtype)
        hidden = self._patch(x)  # [num_pages, num_patches, dim]
        hidden = rms_norm(hidden, visual.post_conv_layernorm)
        hidden = hidden + tables.position.to(dtype)
        for block in self._blocks:
            module = block.module
            hidden = hidden + self._attention(block, rms_norm(hidden, module.norm1), tables)
            normed = rms_norm(hidden, module.norm2)
            gated = module.mlp.act_fn(block.gate(normed)) * block.up(normed)
            hidden = hidden + block.down(gated)
        hidden = rms_norm(hidden, visual.post_layernorm)
        merged = hidden.view(num_pages, rows * columns, merge * merge * hidden.shape[-1])
        merger = visual.merger
        merged = self._merge_in(self._downsample(merged))
        norm = merger.post_projection_norm
        merged = F.layer_norm(
            merged, norm.normalized_shape, norm.weight.to(dtype), norm.bias.to(dtype), norm.eps
        )
        merged = F.gelu(merged)
        return self._merge_out(merger.act_fn(self._merge_gate(merged)) * self._merge_up(merged))

    def _attention(self, block: _Block, hidden: Tensor, tables: _Tables) -> Tensor:
        attn = block.module.attn
        num_pages, num_patches, _ = hidden.shape
        qkv = block.qkv(hidden).view(num_pages, num_patches, 3, attn.num_heads, -1)
        q, k, v = qkv.unbind(2)  # [num_pages, num_patches, heads, head_dim]
        q = rotate_halves(q, tables.cos, tables.sin).transpose(1, 2)
        k = rotate_halves(k, tables.cos, tables.sin).transpose(1, 2)
        v = v.transpose(1, 2)
        if hidden.dtype in self._slow:
            q, k, v = q.float(), k.float(), v.float()
        if self.fused_attention:
            mixed = F.scaled_dot_product_attention(q, k, v, scale=attn.scaling)
        else:
            mixed = torch.softmax((q @ k.transpose(-1, -2)) * attn.scaling, dim=-1) @ v
        mixed = mixed.transpose(1, 2).reshape(num_pages, num_patches, -1)
        return block.out(mixed.to(hidden.dtype))

    def _table(self, grid: Grid) -> _Tables:
        if grid not in self._tables:
            self._tables[grid] = self._make_tables(grid)
        return self._tables[grid]

    def _make_tables(self, grid: Grid) -> _Tables:
        visual, merge = self.visual, self.processor.merge_size
        rows, columns = grid
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        blocks = (rows // merge, merge, columns // merge, merge)
        y = y.reshape(blocks).transpose(1, 2).flatten().to(self.device)  # [num_patches]
        x = x.reshape(blocks).transpose(1, 2).flatten().to(self.device)
        table = visual.embeddings.position_embedding.weight.detach()
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
        position = sampled[0, :, :, 0].T.to(self.dtype).contiguous()
        inv_freq = visual.rotary_pos_emb.inv_freq.to(self.device, torch.float32)
        angle = torch.cat([y[:, None] * inv_freq, x[:, None] * inv_freq], dim=-1)[:, None]
        return _Tables(position, angle.cos(), angle.sin())


def rms_norm(hidden: Tensor, norm: Any) -> Tensor:
    """The library's RMSNorm, computed in float32 by one fused call, in hidden's dtype."""
    weight = norm.weight
    if weight.dtype != hidden.dtype:
        weight = weight.to(hidden.dtype)
    return F.rms_norm(hidden, (hidden.shape[-1],), weight, norm.variance_epsilon)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding with halves as pairs: x [..., heads, dim], cos and sin [..., 1, dim / 2]."""
    first, second = x.float().chunk(2, dim=-1)
    out = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return out.to(x.dtype)
