"""One character per cell: rows and pages of `layout: grid`. The pictures are made in cells.

A page is one gather from the atlas of cells, so drawing costs some tens of microseconds. Wide (CJK)
characters take two cells.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from glyph_worker.document import Page, digest
from glyph_worker.render.fonts.cell_width import num_cells, width_in_cells
from glyph_worker.render.fonts.scripts import COMPLEX
from glyph_worker.render.fonts.shaping import is_rtl, keeps_together, paragraph_levels
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.spelling import one_of
from glyph_worker.render.lines.typeset import source_lines
from glyph_worker.render.pages.breaks import greedy_pages, windowed_pages
from glyph_worker.render.pages.cells import SECOND, Cells
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.style import Style

_SPACES = re.compile(" *")
_TOKENS = re.compile(" +|[^ ]+")
_CANNOT_START = frozenset(
    "\u3001\u3002\uff0c\uff0e\u30fb\uff1a\uff1b\uff1f\uff01\uff09\uff3d\uff5d\u3009\u300b\u300d"
    "\u300f\u3011\u3015\u3017\u3019\u301b\u2019\u201d\u30fc\u3005\u2026\u2025\uff05"
)
_LONGEST_CLUSTER = 64
_LONGEST = 4096
"""Cells measured of one word; what is longer is broken hard in any case."""


class Piece(NamedTuple):
    """Characters that stay on one row if they can."""

    begin: int
    end: int
    cells: int
    blank: bool


class Grid:
    """Breaks paragraphs into rows of cells and draws them."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.columns, self.rows = style.columns, style.rows
        self.cells = Cells(style)
        single = one_of(
            code
            for code in style.fonts[0].glyph_of
            if code >= 0x20 and num_cells(chr(code)) == 1 and not COMPLEX.match(chr(code))
        )
        self._odd = re.compile(f"[^ {single[1:]}")

    def pages(self, text: str, report: RenderReport) -> Iterator[LaidPage]:
        """The pages of a normalised text."""
        style = self.style
        for lines in self._cut(self.lines(text, report)):
            height = self._height(len(lines))
            page = Page(
                index=report.num_pages,
                digest=digest("page", style.digest, height, "\n".join(map(_key, lines))),
                width=style.page_width,
                height=height,
                start=lines[0].start,
                end=lines[-1].end,
            )
            yield LaidPage(page, tuple(lines), self)

    def _cut(self, lines: Iterator[Line]) -> Iterator[list[Line]]:
        style = self.style
        if style.breaks == "greedy":
            return greedy_pages(lines, self.rows)
        spare = [
            (self._height(count) - count * style.cell_height) / style.crop_multiple
            for count in range(self.rows + 1)
        ]
        return windowed_pages(
            lines, min_lines=style.min_lines or max(1, self.rows // 2), spare=spare
        )

    def lines(self, text: str, report: RenderReport) -> Iterator[Line]:
        """The rows of a normalised text, in order; they tile it."""
        for start, end, after in source_lines(text):
            if self._odd.search(text, start, end) is None:
                yield from self._wrap(text[start:end], start, after)
            else:
                yield from self._wrap_any(text[start:end], start, after, report)

    def _height(self, num_lines: int) -> int:
        """Page height in pixels: the rows, up to the next crop multiple."""
        multiple = self.style.crop_multiple
        return -(-num_lines * self.style.cell_height // multiple) * multiple

    def draw(self, laid: LaidPage) -> np.ndarray:
        """The page's pixels, uint8[height, width], black on white."""
        rows = [_row(line) for line in laid.lines]
        page = np.full((laid.page.height, laid.page.width), 255, np.uint8)
        high, wide = len(rows) * self.cells.height, self.columns * self.cells.width
        page[:high, :wide] = self.cells.rows(rows, self.columns)
        for number, line in enumerate(laid.lines):
            if not line.plain:
                top = number * self.cells.height
                page[top : top + self.cells.height, :wide] = self.cells.shaped(line, self.columns)[
                    0
                ]
        return page

    def boxes(self, laid: LaidPage, index: int) -> np.ndarray:
        """Left and right edge of every character shown on a line, float64[n, 2] pixels."""
        line = laid.lines[index]
        if not line.plain:
            return self.cells.shaped(line, self.columns)[1]
        ends = np.cumsum([0, *map(num_cells, line.shown)]) * float(self.cells.width)
        return np.stack([ends[:-1], ends[1:]], axis=1)

    def rows_of(self, laid: LaidPage, index: int) -> tuple[float, float]:
        """Top and bottom of one line, pixels."""
        return float(index * self.cells.height), float((index + 1) * self.cells.height)

    def _wrap(self, text: str, start: int, after: int) -> Iterator[Line]:
        """A paragraph of single cells: words stay whole, spaces at a break hang over the edge."""
        columns, size, pos = self.columns, len(text), 0
        while size - pos > columns:
            limit = pos + columns
            if text[limit] == " ":
                cut = limit
            else:
                word = text.rfind(" ", pos, limit) + 1
                overlong = word and text.find(" ", limit, word + columns + 1) < 0
                # A word longer than a row starts where it stands, broken hard.
                cut = limit if not word or (overlong and size - word > columns) else word
            shown = text[pos:cut]
            match = _SPACES.match(text, cut)
            cut = match.end() if match else cut
            if cut == size:
                yield Line(start + pos, after, shown, True)
                return
            yield Line(start + pos, start + cut, shown, False)
            pos = cut
        yield Line(start + pos, after, text[pos:], True)

    def _wrap_any(self, text: str, start: int, after: int, report: RenderReport) -> Iterator[Line]:
        """A paragraph with anything in it."""
        shown, offsets = self._spell(text, start, report)
        plain = COMPLEX.search(shown) is None
        rtl = not plain and is_rtl(shown)
        levels = b"" if plain else paragraph_levels(shown, rtl=rtl)
        held: tuple[int, int, int] | None = None
        for row in self._rows(shown):
            if held is not None:
                end = offsets[row[0]]
                yield self._line(shown, offsets, held, start, end, False, levels, rtl)
                start = offsets[row[0]]
            held = row
        yield self._line(shown, offsets, held or (0, 0, 0), start, after, True, levels, rtl)

    def _line(
        self,
        shown: str,
        offsets: list[int],
        row: tuple[int, int, int],
        start: int,
        end: int,
        last: bool,
        levels: bytes,
        rtl: bool,
    ) -> Line:
        drawn = shown[row[0] : row[1]]
        own = offsets[row[0] : row[1]]
        levels = levels[row[0] : row[1]]
        return Line(start, end, drawn, last, own, not levels, rtl=rtl, levels=levels)

    def _rows(self, shown: str) -> Iterator[tuple[int, int, int]]:
        """Begin, end of what is drawn, and end with hanging spaces, of every row."""
        columns = self.columns
        begin = end = used = 0
        for piece in _pieces(shown, columns):
            first, last, cells, blank = piece
            if used + cells <= columns:
                used, end = used + cells, last
                continue
            if blank:
                yield begin, first + columns - used, last
                begin, end, used = last, last, 0
                continue
            if cells <= columns and first > begin:
                yield begin, first, first
                begin, end, used = first, last, cells
                continue
            while cells > columns - used:
                cut = max(_fit(shown, first, last, columns - used), begin + 1)
                cut = _before_cluster(shown, begin, cut)
                yield begin, cut, cut
                cells = width_in_cells(shown[cut:last]) if last - cut < _LONGEST else _LONGEST
                begin = first = cut
                used = 0
            used, end = cells, last
        if begin < len(shown):
            yield begin, end, len(shown)

    def _spell(self, text: str, start: int, report: RenderReport) -> tuple[str, list[int]]:
        """Tabs as spaces, what no font has as escapes; and where each character comes from."""
        shown: list[str] = []
        offsets: list[int] = []
        column = 0
        for index, char in enumerate(text):
            if char == "\t":
                spelled = " " * (self.style.tab_width - column % self.style.tab_width)
            elif char == "\u00a0" or self.cells.font_of(ord(char)) is not None:
                spelled = char
            elif char in "\u200c\u200d" or unicodedata.category(char) == "Zs":
                spelled = char if char in "\u200c\u200d" else " "
            else:
                report.missing_glyphs[char] += 1
                spelled = f"[U+{ord(char):04X}]"
            shown.append(spelled)
            offsets.extend([start + index] * len(spelled))
            column += width_in_cells(spelled)
        return "".join(shown), offsets


def _key(line: Line) -> str:
    """All that decides a row's pixels; no character shown is a control character."""
    return line.shown if line.plain else f"{line.shown}\t{line.rtl}\t{line.levels.hex()}"


def _row(line: Line) -> str:
    """A line as cells: every character one, wide ones followed by their second half."""
    if line.offsets is None:
        return line.shown
    if not line.plain:
        return ""
    return "".join(char + SECOND if num_cells(char) == 2 else char for char in line.shown)


def _before_cluster(text: str, begin: int, cut: int) -> int:
    """Where a row that starts at `begin` can end without cutting letters from their marks."""
    for place in range(cut, max(begin, cut - _LONGEST_CLUSTER), -1):
        if place >= len(text) or not keeps_together(text[place - 1], text[place]):
            return place
    return cut


def _fit(text: str, begin: int, end: int, room: int) -> int:
    """How far text[begin:end] goes before it takes more than `room` cells."""
    while begin < end:
        room -= num_cells(text[begin])
        if room < 0:
            break
        begin += 1
    return begin


def _pieces(text: str, columns: int) -> Iterator[Piece]:
    """Wide characters may be parted from each other, but not from closing punctuation behind
    them; all else only at spaces."""
    for match in _TOKENS.finditer(text):
        begin, end = match.span()
        if text[begin] == " ":
            yield Piece(begin, end, end - begin, True)
            continue
        if text[begin:end].isascii():
            yield Piece(begin, end, end - begin, False)
            continue
        first, cells = begin, num_cells(text[begin])
        before = cells
        for index in range(begin + 1, end):
            here = num_cells(text[index])
            if 2 in (here, before) and here and text[index] not in _CANNOT_START:
                yield Piece(first, index, cells, False)
                first, cells = index, 0
            cells += here
            before = here or before
        yield Piece(first, end, cells, False)
