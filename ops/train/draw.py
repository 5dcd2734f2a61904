"""Pages drawn on the training device: one gather from the renderer's own cells."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glyph_worker.render.out import raster
from glyph_worker.render.style.presets import preset_style
from train import vocabulary as v

MEAN, STD = 1.0, 0.5  # of the checkpoint's processor: white paper is 0, black ink -2


def cell_atlas() -> Tensor:
    """The picture of every token, uint8 [256, 14, 7]; tokens that are no character are blank."""
    atlas = np.full((v.VOCAB_SIZE, 14, 7), 255, dtype=np.uint8)
    first = v.ID[v.CHARACTERS[0]]
    cells = raster.cell_atlas(preset_style("nano"), v.CHARACTERS)
    atlas[first : first + len(v.CHARACTERS)] = cells
    return torch.from_numpy(atlas)


def draw(atlas: Tensor, cells: Tensor) -> Tensor:
    """Gray pages uint8 [pages, lines * 14, 448] of character ids int64 [pages, lines, 64]."""
    pages, lines, columns = cells.shape
    pictures = atlas[cells]  # [pages, lines, 64, 14, 7]
    return pictures.permute(0, 1, 3, 2, 4).reshape(pages, lines * 14, columns * 7)


def normalise(pages: Tensor) -> Tensor:
    """What the image processor makes of a gray page, before it copies channels and frames."""
    return (pages.float() / 255 - MEAN) / STD
