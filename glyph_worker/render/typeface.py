"""Glyph pictures: one font at one size, unhinted, gray. Where they go is others' work.

FreeType (inside Pillow) rasters them. For whole pixel sizes the bitmaps equal FreeType's own with
FT_LOAD_NO_HINTING, bit for bit (tests/unit/test_render_typeface.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageFont

from glyph_worker.errors import FontUnusable
from glyph_worker.render import sfnt
from glyph_worker.render.fontfile import FontFile

PHASES = 4
"""Glyphs are drawn at quarter pixels, as poppler's Splash does."""


@dataclass(frozen=True, slots=True)
class Glyph:
    """Coverage of one glyph at one phase, trimmed to its ink."""

    coverage: np.ndarray
    """uint8[rows, columns], 0 outside, 255 inside."""
    left: int
    """Column of the first ink column, from the pen."""
    top: int
    """Row of the first ink row, from the baseline; negative is above."""


_EMPTY = Glyph(np.zeros((0, 0), np.uint8), 0, 0)


class Typeface:
    """One font at `size` pixels per em."""

    def __init__(self, font: FontFile, size: float) -> None:
        self.font = font
        self.size = size
        self._phases: list[ImageFont.FreeTypeFont | None] = [None] * PHASES

    def glyph(self, number: int, phase: int = 0) -> Glyph:
        """The glyph moved right by `phase` quarter pixels. Raises FontUnusable."""
        face = self._phases[phase] or self._load(phase)
        name = chr(sfnt.GLYPH_PLANE + number)
        try:
            mask, (left, top) = face.getmask2(name, "L", anchor="ls")
        except (OSError, ValueError) as exc:
            raise FontUnusable(f"font {self.font.name}: glyph {number} is broken: {exc}") from exc
        width, height = mask.size
        if not width or not height:
            return _EMPTY
        image = Image.Image()._new(mask)
        coverage = np.frombuffer(image.tobytes(), np.uint8).reshape(height, width)
        rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
        if not len(rows):
            return _EMPTY
        trimmed = coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Glyph(trimmed, int(left + columns[0]), int(top + rows[0]))

    def _load(self, phase: int) -> ImageFont.FreeTypeFont:
        shift = phase / PHASES * self.font.units_per_em / self.size
        raw = sfnt.unhinted(self.font.tables, shift_units=shift)
        try:
            face = ImageFont.truetype(BytesIO(raw), self.size, layout_engine=ImageFont.Layout.BASIC)
        except (OSError, ValueError) as exc:
            raise FontUnusable(f"font {self.font.name} cannot be opened: {exc}") from exc
        self._phases[phase] = face
        return face
