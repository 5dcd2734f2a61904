"""A document's characters measured block by block, and broken into lines where that can be done in
bulk. Decides nothing about pages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from glyph_worker.render.fonts.glyphs import Glyphs
from glyph_worker.render.lines.block_lines import Bulk, SetLine
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.wrap import SHRINK
from glyph_worker.render.loops.blit import fastest
from glyph_worker.render.loops.wrap_loop import SIMPLE

BLOCK = 65_536
"""Characters measured at once; longer source lines are measured word by word instead."""


def running_sums(widths: np.ndarray) -> Sequence[float]:
    """What lies before each of some characters and before the end: widths float64[n], float[n + 1].

    A view of the numbers: a list of a million floats takes 32 MB, and few of them are looked at.
    """
    sums = np.zeros(len(widths) + 1)
    np.cumsum(widths, out=sums[1:])
    return sums.data


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
        self._chars: Sequence[float] | None = None
        self._bulk: Bulk | None = None

    def run(self, start: int, end: int) -> SetLine | None:
        """The lines of the source line text[start:end], wrapped by words at the left margin; None
        where they are not to be had in bulk."""
        wrap = fastest().wrap
        if wrap is None or self._room is None or not self._covers(start, end):
            return None
        if self._bulk is None:
            kinds = self._kind_of[self._codes]
            kinds[self._glue()] = SIMPLE
            places, extras = wrap(
                kinds,
                self._glyphs.thousandths_of(self._codes),
                self._glyphs.points,
                self._room,
                self._glyphs.space,
                SHRINK,
                math.inf,
            )
            block = self._text[self._begin : self._end]
            self._bulk = Bulk(block, self._begin, places, extras)
        return self._bulk.run(start)

    def lines(self, first: int, last: int, end: int, count: int) -> list[Line] | None:
        """The lines of `count` source lines from text[first:] to text[last:end], as `run` gives
        them; None where one of them is not to be had in bulk, or nobody has asked for it yet."""
        if self._bulk is None or first < self._begin or end > self._end:
            return None
        return self._bulk.lines(first, last, count)

    def char_ends(self, start: int, end: int) -> tuple[Sequence[float], int] | None:
        """For text[start:end]: running sums of widths, and the index of `start` in them; sums[i]
        lies before character i. None if too long."""
        if not self._covers(start, end):
            return None
        if self._chars is None:
            widths = self._glyphs.thousandths_of(self._codes) * self._glyphs.points
            self._chars = running_sums(widths)
        return self._chars, start - self._begin

    def _glue(self) -> np.ndarray:
        """Spaces beside other spaces, bool[n]."""
        blank = self._codes == 0x20
        beside = np.zeros_like(blank)
        beside[1:] |= blank[:-1]
        beside[:-1] |= blank[1:]
        glue: np.ndarray = blank & beside
        return glue

    def _covers(self, start: int, end: int) -> bool:
        if self._begin <= start and end <= self._end:
            return True
        if end - start > BLOCK:
            return False
        stop = self._text.rfind("\n", end, start + BLOCK)
        self._begin, self._end = start, stop if stop > end else end
        block = self._text[start : self._end]
        self._codes = np.frombuffer(block.encode("utf-32-le"), np.uint32)
        self._chars = self._bulk = None
        return True
