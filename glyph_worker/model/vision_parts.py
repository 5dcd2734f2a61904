"""What the families' vision towers are built of: patches, tables, attention. No family by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from glyph_worker.model.linear import Linear
from glyph_worker.model.processor import Grid, ProcessorConfig

MakeLinear = Callable[[Tensor, Tensor | None], Linear]


def linear_of(module: Any, make: MakeLinear) -> Linear:
    """A library's linear layer as ours."""
    return make(module.weight, module.bias)


class Patches:
    """A patch convolution on raw pixels, gray or in colour: [..., patch * patch (* 3)] to
    [..., hidden]."""

    def __init__(self, conv: Any, config: ProcessorConfig, make: MakeLinear) -> None:
        colored, bias = _weights(conv, config)  # [hidden, channels, patch, patch]
        dtype = conv.weight.dtype
        self._num_gray = config.patch_size**2
        self._gray = make(colored.sum(dim=1).flatten(1).to(dtype), bias.to(dtype))
        self._colored = self._gray
        if colored.shape[1] > 1:
            by_pixel = colored.permute(0, 2, 3, 1).flatten(1)
            self._colored = make(by_pixel.to(dtype), bias.to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        return self._gray(x) if x.shape[-1] == self._num_gray else self._colored(x)


def folded_patches(conv: Any, config: ProcessorConfig) -> tuple[Tensor, Tensor]:
    """The same on gray pixels alone: weight [hidden, patch * patch] and bias [hidden]."""
    colored, bias = _weights(conv, config)
    return colored.sum(dim=1).flatten(1).to(conv.weight.dtype), bias.to(conv.weight.dtype)


def _weights(conv: Any, config: ProcessorConfig) -> tuple[Tensor, Tensor]:
    """float64 [hidden, channels, patch, patch] and [hidden].

    The frames (`Conv3d`; `Conv2d` has none), scaling and normalising are all in it. Its input is
    x = pixel / 255 - 1, so that a white patch is the bias alone.
    """
    weight = conv.weight.detach().double()  # [hidden, channels, (frames,) patch, patch]
    if weight.ndim == 5:
        weight = weight.sum(dim=2)
    mean = torch.tensor(config.mean, dtype=torch.float64, device=weight.device)
    std = torch.tensor(config.std, dtype=torch.float64, device=weight.device)
    scale = (config.rescale_factor * 255 / std)[None, :, None, None]
    white = ((config.rescale_factor * 255 - mean) / std)[None, :, None, None]
    bias = (weight * white).sum(dim=(1, 2, 3))
    if conv.bias is not None:
        bias = bias + conv.bias.detach().double()
    return weight * scale, bias


def cut_patches(pixels: Tensor, grid: Grid, patch: int, merge: int, dtype: torch.dtype) -> Tensor:
    """uint8 [num_pages, height, width], or [num_pages, height, width, 3], to
    [num_pages, num_patches, patch * patch (* 3)].

    In the order of the merger: the patches of one visual token lie together.
    """
    num_pages = pixels.shape[0]
    rows, columns = grid[0] // merge, grid[1] // merge
    x = pixels.view(num_pages, rows, merge, patch, columns, merge, patch, -1)
    x = x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(num_pages, grid[0] * grid[1], -1)
    return (x.to(torch.float32) / 255 - 1).to(dtype)


def block_coordinates(grid: Grid, merge: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of every patch in the merger's order: int64 [num_patches] each."""
    rows, columns = grid
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    blocks = (rows // merge, merge, columns // merge, merge)
    y = y.reshape(blocks).transpose(1, 2).flatten().to(device)
    x = x.reshape(blocks).transpose(1, 2).flatten().to(device)
    return y, x


def patch_angles(y: Tensor, x: Tensor, inv_freq: Tensor) -> Tensor:
    """Rotary angles of patches by row and column: float32 [num_patches, 1, head_dim / 2]."""
    inv_freq = inv_freq.to(y.device, torch.float32)
    return torch.cat([y[:, None] * inv_freq, x[:, None] * inv_freq], dim=-1)[:, None]


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding with halves as pairs: x [..., heads, dim], cos and sin [..., 1, dim / 2]."""
    first, second = x.float().chunk(2, dim=-1)
    out = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return out.to(x.dtype)


def patch_attention(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, fused: bool, slow: tuple[torch.dtype, ...]
) -> Tensor:
    """Attention of all on all: [batch, num_patches, heads, dim] to [batch, num_patches, width].

    `slow` dtypes are multiplied in float32; `fused` off keeps every score in memory.
    """
    dtype = q.dtype
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if dtype in slow:
        q, k, v = q.float(), k.float(), v.float()
    if fused:
        mixed = F.scaled_dot_product_attention(q, k, v, scale=scale)
    else:
        mixed = torch.softmax((q @ k.transpose(-1, -2)) * scale, dim=-1) @ v
    return mixed.transpose(1, 2).flatten(2).to(dtype)


class PageForward(Protocol):
    """One family's way from pixels to page features. Owns no batch, no stream, no lock."""

    device: torch.device
    dtype: torch.dtype
    fused_attention: bool
    """Off: every score in memory, to measure by."""

    def lay_out(self, make: MakeLinear) -> None:
        """Take every matrix from the library's module."""

    def compile(self, **options: Any) -> None:
        """Compute its blocks compiled from now on, once for pages of any size and number."""

    def run_plain(self) -> None:
        """The opposite."""

    def prepare(self, grid: Grid) -> None:
        """Make what a grid needs: tables are kept, so that the forward moves nothing."""

    def forward(self, pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        """uint8 [num_pages, height, width], or [num_pages, height, width, 3] where the family sees
        colour, to [num_pages, num_tokens, width] in `dtype`."""
