"""Glyph pictures: one font at one size, unhinted, gray. Where they go is others' work.

FreeType (inside Pillow) rasters them. The bitmaps equal FreeType's own with FT_LOAD_NO_HINTING and
Splash's matrix, bit for bit (tests/unit/test_render_typeface.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
from PIL import Image, ImageFont

from glyph_worker.errors import FontUnusable
from glyph_worker.render.fonts import sfnt
from glyph_worker.render.fonts.fontfile import FontFile
from glyph_worker.render.fonts.outlines import PIXELS_PER_EM, Outlines, bake
from glyph_worker.render.loops.blit import PHASES


@dataclass(frozen=True, slots=True)
class Glyph:
    """Coverage of one glyph at one phase, trimmed to its ink."""

    coverage: np.ndarray
    """uint8[rows, columns], 0 outside, 255 inside."""
    left: int
    """Column of the first ink column, from the pen."""
    top: int
    """Row of the first ink row, from the baseline; negative is above."""


_BATCH = 4096
_EMPTY = Glyph(np.zeros((0, 0), np.uint8), 0, 0)


class Typeface:
    """One font at `size` pixels per em.

    Whole sizes are drawn from the font itself, four times, shifted by other side bearings. Other
    sizes, and fonts whose units are too coarse for that, are drawn from baked outlines.
    """

    def __init__(self, font: FontFile, size: float) -> None:
        self.font = font
        self.size = size
        self._phases: list[ImageFont.FreeTypeFont | None] = [None] * PHASES
        self._baked: dict[tuple[int, int], tuple[ImageFont.FreeTypeFont, int]] = {}

    @cached_property
    def _outlines(self) -> Outlines:
        return Outlines(self.font, self.size)

    @cached_property
    def _baking(self) -> bool:
        return self._outlines.matrix != 0x10000 or any(
            self._outlines.shifted_bearings(phase * 64 // PHASES) is None for phase in range(PHASES)
        )

    def glyph(self, number: int, phase: int = 0) -> Glyph:
        """The glyph moved right by `phase` quarter pixels. Raises FontUnusable."""
        if self._baking:
            if (number, phase) not in self._baked:
                self.prepare([(number, phase)])
            face, number = self._baked.pop((number, phase))
        else:
            face = self._phases[phase] or self._load(phase)
        return self._drawn(face, number)

    def prepare(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Make ready for glyph(number, phase) of all `wanted`; cheaper than one by one."""
        if not self._baking:
            return
        for begin in range(0, len(wanted), _BATCH):
            batch = wanted[begin : begin + _BATCH]
            step = 64 // PHASES
            raw = bake([self._outlines.outline(number, phase * step) for number, phase in batch])
            face = self._open(raw, PIXELS_PER_EM)
            for index, key in enumerate(batch):
                self._baked[key] = face, index

    def _drawn(self, face: ImageFont.FreeTypeFont, number: int) -> Glyph:
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
        lefts = self._outlines.shifted_bearings(phase * 64 // PHASES)
        raw = sfnt.unhinted(self.font.tables, lefts=lefts)
        face = self._phases[phase] = self._open(raw, round(self.size))
        return face

    def _open(self, raw: bytes, size: int) -> ImageFont.FreeTypeFont:
        try:
            with BytesIO(raw) as file:
                face = ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)
            # FreeType has a copy of its own, and fonts may have megabytes: four for a style.
            face.font_bytes = b""
            return face
        except (OSError, ValueError) as exc:
            raise FontUnusable(f"font {self.font.name} cannot be opened: {exc}") from exc
