"""What a checkpoint's image processor does to a page, as numbers. Draws and encodes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glyph_worker.errors import DocumentTooLarge

Page = npt.NDArray[np.uint8]
Grid = tuple[int, int]
"""Patches, rows x columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorConfig:
    """What the checkpoint's image processor does to a page, as far as it changes numbers."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    min_pixels: int
    max_pixels: int
    rescale_factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """Page size in pixels after the library's resizing, (width, height).

        Multiples of patch x merge, area between the limits; from `smart_resize` of Glm4v, where a
        still counts as `temporal_patch_size` frames. Raises DocumentTooLarge for aspect over 200.
        """
        factor, frames = self.patch_size * self.merge_size, self.temporal_patch_size
        if height < factor or width < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        if max(height, width) / min(height, width) > 200:
            raise DocumentTooLarge(
                f"page of {width} x {height} px has an aspect over 200; choose another page size",
                width=width,
                height=height,
            )
        tall, wide = round(height / factor) * factor, round(width / factor) * factor
        if frames * tall * wide > self.max_pixels:
            beta = math.sqrt(frames * height * width / self.max_pixels)
            tall = max(factor, math.floor(height / beta / factor) * factor)
            wide = max(factor, math.floor(width / beta / factor) * factor)
        elif frames * tall * wide < self.min_pixels:
            beta = math.sqrt(self.min_pixels / (frames * height * width))
            tall = math.ceil(height * beta / factor) * factor
            wide = math.ceil(width * beta / factor) * factor
        return wide, tall

    def grid(self, width: int, height: int) -> Grid:
        """Patch grid (rows, columns) of a page given in pixels."""
        wide, tall = self.fitted_size(width, height)
        return tall // self.patch_size, wide // self.patch_size

    def visual_grid(self, width: int, height: int) -> tuple[int, int]:
        """Visual tokens (rows, columns) of a page given in pixels."""
        rows, columns = self.grid(width, height)
        return rows // self.merge_size, columns // self.merge_size
