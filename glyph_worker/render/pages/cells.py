"""Pictures of cells for `grid`: an atlas of single and double cells, and shaped rows. No layout."""

from __future__ import annotations

import threading

import numpy as np

from glyph_worker.errors import InvalidOption
from glyph_worker.render.fonts.cell_width import num_cells
from glyph_worker.render.fonts.shaping import Shaper
from glyph_worker.render.fonts.typeface import Glyph, Typeface
from glyph_worker.render.lines.line import Line
from glyph_worker.render.style.style import Style

SECOND = "\uffff"
"""Second half of a double cell in a row of characters; a noncharacter, never drawn."""
_WIDE_EM = 0.86
"""Size of double-cell glyphs, as a share of the cell's height."""


class Cells:
    """Draws characters into cells; keeps every cell seen so far."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.width, self.height = style.cell_width, style.cell_height
        self.fonts = style.fonts
        self.shaper = Shaper(style.fonts)
        main = self.fonts[0]
        ascent, descent = (
            int.from_bytes(main.tables["hhea"][at : at + 2], "big", signed=True) / main.units_per_em
            for at in (4, 6)
        )
        self._size = style.font_size * style.scale
        spare = style.cell_height - (ascent - descent) * self._size
        self._baseline = round(spare / 2 + ascent * self._size)
        self._lock = threading.Lock()  # threads share a style's cells; only new ones need it
        self._faces: dict[tuple[int, float], Typeface] = {}
        self._atlas = np.full((256, self.height, self.width), 255, np.uint8)
        self._num_slots = 1  # slot 0 is blank
        self._slot_of = np.full(0x110000, -1, np.int32)
        self._slot_of[[0x20, 0xA0]] = 0

    def font_of(self, code: int) -> int | None:
        """Index of the first font that has a character."""
        for number, font in enumerate(self.fonts):
            if code in font.glyph_of:
                return number
        return None

    def rows(self, rows: list[str], columns: int) -> np.ndarray:
        """Rows of single cells (a double one followed by SECOND), shorter ones filled with blank.

        Returns uint8[len(rows) * cell_height, columns * cell_width].
        """
        text = "".join(row[:columns].ljust(columns) for row in rows)
        slots = self.slots(text).reshape(len(rows), columns)
        cells = self._atlas[slots]  # [rows, columns, cell_height, cell_width]
        page: np.ndarray = cells.swapaxes(1, 2)
        return page.reshape(len(rows) * self.height, columns * self.width)

    def single(self, chars: str) -> np.ndarray:
        """Cells of characters that take one each, uint8[len(chars), cell_height, cell_width]."""
        for char in chars:
            if num_cells(char) != 1:
                raise InvalidOption(
                    f"{char!r} takes {num_cells(char)} cells; ask for single-cell characters only"
                )
        slots = self.slots(chars)  # first: a new character makes a new atlas
        cells: np.ndarray = self._atlas[slots]
        return cells

    def slots(self, text: str) -> np.ndarray:
        """Places in the atlas, int32[len(text)]."""
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        slots: np.ndarray = self._slot_of[codes]
        if slots.min(initial=0) < 0:
            with self._lock:
                for code in np.unique(codes[slots < 0]).tolist():
                    if code != ord(SECOND) and self._slot_of[code] < 0:
                        self._add(code)
            slots = self._slot_of[codes]
            second = np.flatnonzero(codes == ord(SECOND))
            slots[second] = slots[second - 1] + 1
        return slots

    def shaped(self, line: Line, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """One row that needs shaping, and the left and right edge of its characters.

        Returns uint8[cell_height, columns * cell_width] and float64[len(shown), 2] pixels.
        """
        row = np.full((self.height, columns * self.width), 255, np.uint8)
        glyphs = self.shaper.line(line.shown, rtl=line.rtl, levels=line.levels)
        total = sum(1 if glyph.advance else 0 for glyph in glyphs)
        pen = self.width * max(0, columns - total) if line.rtl else 0
        before, reach = pen, 0.0
        boxes = np.full((len(line.shown), 2), np.nan)
        for glyph in glyphs:
            size = self._size
            if glyph.font and glyph.advance * size > 1000 * self.width:
                size = 1000 * self.width / glyph.advance
            shift = glyph.dx * size / 1000
            if glyph.advance:
                left = pen + round(shift)
                before, reach = pen, glyph.advance * size / 1000
                pen += self.width
            else:  # a mark: over the cell before it, or over the one to come
                left = round(before + reach + shift if shift < 0 else pen + shift)
            picture = self._face(glyph.font, size).glyph(glyph.glyph)
            _stamp(row, picture, left, self._baseline - round(glyph.dy * size / 1000))
            low, high = boxes[glyph.at]
            boxes[glyph.at] = np.fmin(low, before), np.fmax(high, before + self.width)
        for index in range(1, len(boxes)):  # the rest of a cluster
            if np.isnan(boxes[index, 0]):
                boxes[index] = boxes[index - 1]
        return row, boxes

    def _add(self, code: int) -> None:
        """Draw one character into its one or two cells of the atlas."""
        cells = max(1, num_cells(chr(code)))
        picture = np.full((self.height, cells * self.width), 255, np.uint8)
        glyph, pen = self._fitted(code, cells)
        _stamp(picture, glyph, pen, self._baseline)
        while self._num_slots + cells > len(self._atlas):
            self._atlas = np.concatenate([self._atlas, np.full_like(self._atlas, 255)])
        for cell in range(cells):
            part = picture[:, cell * self.width : (cell + 1) * self.width]
            self._atlas[self._num_slots + cell] = part
        self._slot_of[code] = self._num_slots
        self._num_slots += cells

    def _fitted(self, code: int, cells: int) -> tuple[Glyph, int]:
        """The glyph and the column of its pen; fallback fonts are fitted into the cell."""
        number = self.font_of(code) or 0
        font = self.fonts[number]
        gid = font.glyph_of.get(code, 0)
        advance = font.thousandths(gid) / 1000
        room = cells * self.width
        size = self._size if cells == 1 else round(_WIDE_EM * self.height)
        if number and advance * size > room:
            size = room / advance
        pen = round((room - advance * size) / 2) if number else 0
        return self._face(number, size).glyph(gid), pen

    def _face(self, number: int, size: float) -> Typeface:
        key = number, size
        if key not in self._faces:
            self._faces[key] = Typeface(self.fonts[number], size)
        return self._faces[key]


def _stamp(picture: np.ndarray, glyph: Glyph, pen: int, baseline: int) -> None:
    """Black ink on white or on other ink, cut off at the picture's edges."""
    rows, columns = glyph.coverage.shape
    top, left = baseline + glyph.top, pen + glyph.left
    up, down = max(0, -top), max(0, min(rows, picture.shape[0] - top))
    near, far = max(0, -left), max(0, min(columns, picture.shape[1] - left))
    if up < down and near < far:
        ink = glyph.coverage[up:down, near:far]
        place = picture[top + up : top + down, left + near : left + far]
        place -= np.minimum(place, ink)
