"""A document's characters measured block by block, and broken into lines where that can be done in
bulk. Decides nothing about pages."""

from __future__ import annotations

import math

import numpy as np

from glyph_worker.render.fonts.glyphs import Glyphs
from glyph_worker.render.lines.block_lines import Bulk, SetLine
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.wrap import SHRINK, wrap_chars
from glyph_worker.render.loops.blit import fastest
from glyph_worker.render.loops.wrap_loop import NEWLINE, ODD, SIMPLE

BLOCK = 65_536
"""Characters measured at once; longer source lines are measured word by word instead."""


def running_sums(widths: np.ndarray) -> np.ndarray:
    """What lies before each of some characters and before the end: widths float64[n], added up one
    by one; float64[n + 1]."""
    sums = np.zeros(len(widths) + 1)
    np.cumsum(widths, out=sums[1:])
    return sums


class Ruler:
    """Widths over one text, in points. Moves forward; keeps one block in memory."""

    def __init__(
        self, text: str, glyphs: Glyphs, kind_of: np.ndarray, room: float | None, *, hang: bool
    ) -> None:
        """kind_of uint8[0x110000], classes of characters (wrap_loop); room: the width of all lines,
        None where they differ; hang: see wrap_chars."""
        self._text = text
        self._glyphs = glyphs
        self._kind_of = kind_of
        self._room = room
        self._hang = hang
        self._begin = self._end = 0
        self._codes = np.zeros(0, np.uint32)
        self._sums: np.ndarray | None = None
        self._bulk: dict[bool, Bulk] = {}

    def run(self, start: int, end: int, *, by_chars: bool) -> SetLine | None:
        """The lines of the source line text[start:end], wrapped by words or characters at the left
        margin; None where they are not to be had in bulk."""
        if self._room is None or self._text[end : end + 1] not in ("", "\n"):
            return None
        if (not by_chars and fastest().wrap is None) or not self._covers(start, end):
            return None
        if by_chars not in self._bulk:
            kinds = self._kind_of[self._codes]
            glue = self._glue()
            kinds[glue] = SIMPLE
            wrapped = self._by_chars if by_chars else self._by_words
            block = self._text[self._begin : self._end]
            self._bulk[by_chars] = Bulk(block, self._begin, *wrapped(kinds, glue, self._room))
        return self._bulk[by_chars].run(start)

    def lines(
        self, first: int, last: int, end: int, count: int, *, by_chars: bool
    ) -> list[Line] | None:
        """The lines of `count` source lines from text[first:] to text[last:end], as `run` gives
        them; None where one of them is not to be had in bulk, or nobody has asked for it yet."""
        if by_chars not in self._bulk or first < self._begin or end > self._end:
            return None
        return self._bulk[by_chars].lines(first, last, count)

    def sums(self, start: int, end: int) -> np.ndarray | None:
        """Points from the block's start to each character of text[start:end] and to its end; None
        if it is too long."""
        if not self._covers(start, end):
            return None
        return self._block_sums()[start - self._begin : end - self._begin + 1]

    def _by_words(
        self, kinds: np.ndarray, _glue: np.ndarray, room: float
    ) -> tuple[np.ndarray, np.ndarray]:
        widths = self._glyphs.thousandths_of(self._codes)
        found: tuple[np.ndarray, np.ndarray] = fastest().wrap(
            kinds, widths, self._glyphs.points, room, self._glyphs.space, SHRINK, math.inf
        )
        return found

    def _by_chars(
        self, kinds: np.ndarray, glue: np.ndarray, room: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The lines of the source lines without odd characters."""
        stops = np.append(np.flatnonzero(kinds == NEWLINE), len(kinds))
        starts = np.append(0, stops[:-1] + 1)
        odd = np.flatnonzero(kinds == ODD)
        plain = np.searchsorted(odd, starts) == np.searchsorted(odd, stops)
        codes = np.where(glue, np.uint32(0xA0), self._codes)
        lines = (starts[plain], stops[plain])
        sums, hang = self._block_sums(), self._hang
        return wrap_chars(codes, sums, *lines, first=room, later=room, hang=hang)

    def _block_sums(self) -> np.ndarray:
        if self._sums is None:
            self._sums = running_sums(
                self._glyphs.thousandths_of(self._codes) * self._glyphs.points
            )
        return self._sums

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
        self._sums, self._bulk = None, {}
        return True
