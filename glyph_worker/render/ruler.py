"""A document's characters measured block by block, and broken into lines where that can be done in
bulk. Decides nothing about pages."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from glyph_worker.render.blit import fastest
from glyph_worker.render.glyphs import Glyphs
from glyph_worker.render.wrap import SHRINK, Piece
from glyph_worker.render.wraploop import SIMPLE

BLOCK = 65_536
"""Characters measured at once; longer source lines are measured word by word instead."""


class Ruler:
    """Widths over one text, in points. Moves forward; keeps one block in memory."""

    def __init__(self, text: str, glyphs: Glyphs, kind_of: np.ndarray, room: float | None) -> None:
        """kind_of uint8[0x110000], classes of characters (wraploop); room: the width of all lines,
        None where they differ."""
        self._text = text
        self._glyphs = glyphs
        self._kind_of = kind_of
        self._room = room
        self._begin = self._end = 0
        self._codes = np.zeros(0, np.uint32)
        self._words: Sequence[float] | None = None
        self._chars: Sequence[float] | None = None
        self._rows: list[tuple[int, int, float, int]] | None = None
        self._sources: list[int] = []

    def pieces(self, start: int, end: int) -> list[Piece] | None:
        """Lines of words of text[start:end], counted from `start`; None where they are not to be
        had in bulk. A blank source line gives an empty list."""
        wrap = fastest().wrap
        if wrap is None or self._room is None or not self._covers(start, end):
            return None
        if self._rows is None:
            kinds = self._kind_of[self._codes]
            kinds[self._glue()] = SIMPLE
            places, extras = wrap(
                kinds,
                self._glyphs.thousandths_of(self._codes),
                self._glyphs.points,
                self._room,
                self._glyphs.space,
                SHRINK,
            )
            places[:, 1:3] -= places[:, :1]
            self._sources = places[:, 0].tolist()
            self._rows = list(
                zip(
                    *(places[:, 1].tolist(), places[:, 2].tolist()),
                    *(extras.tolist(), places[:, 3].tolist()),
                    strict=True,
                )
            )
        first = bisect_left(self._sources, start - self._begin)
        last = bisect_right(self._sources, start - self._begin, first)
        if first == last:
            return None
        rows = self._rows[first:last]
        return [tuple.__new__(Piece, row) for row in rows] if rows[0][3] else []

    def word_ends(self, start: int, end: int) -> tuple[Sequence[float], int] | None:
        """For text[start:end]: sums where a single space counts 95 %, as wrapping by words allows,
        and the index of `start` in them; sums[i] lies before character i. None if too long."""
        if not self._covers(start, end):
            return None
        if self._words is None:
            single = (self._codes == 0x20) & ~self._glue()
            widths = self._widths() - single * (SHRINK * self._glyphs.space)
            self._words = np.concatenate([[0.0], np.cumsum(widths)]).tolist()
        return self._words, start - self._begin

    def char_ends(self, start: int, end: int) -> tuple[Sequence[float], int] | None:
        """The same with every character at its full width, for wrapping by characters."""
        if not self._covers(start, end):
            return None
        if self._chars is None:
            self._chars = np.concatenate([[0.0], np.cumsum(self._widths())]).tolist()
        return self._chars, start - self._begin

    def _glue(self) -> np.ndarray:
        """Spaces beside other spaces, bool[n]."""
        blank = self._codes == 0x20
        beside = np.zeros_like(blank)
        beside[1:] |= blank[:-1]
        beside[:-1] |= blank[1:]
        glue: np.ndarray = blank & beside
        return glue

    def _widths(self) -> np.ndarray:
        return self._glyphs.thousandths_of(self._codes) * self._glyphs.points

    def _covers(self, start: int, end: int) -> bool:
        if self._begin <= start and end <= self._end:
            return True
        if end - start > BLOCK:
            return False
        stop = self._text.rfind("\n", end, start + BLOCK)
        self._begin, self._end = start, stop if stop > end else end
        block = self._text[start : self._end]
        self._codes = np.frombuffer(block.encode("utf-32-le"), np.uint32)
        self._words = self._chars = self._rows = None
        return True
