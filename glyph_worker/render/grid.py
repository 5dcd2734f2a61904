"""One character per cell: layout and drawing of `layout: grid`. No page breaks, no files.

A line is a row of slots, a slot the picture of one cell; wide (CJK) characters take two slots. A
page is one gather from the atlas, so drawing costs some tens of microseconds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import numpy as np

from glyph_worker.document import Page, digest
from glyph_worker.errors import InvalidOption
from glyph_worker.render.breaks import cut_pages
from glyph_worker.render.page import LaidPage, Line, RenderReport
from glyph_worker.render.style import Style
from glyph_worker.render.typeface import Glyph, Typeface

_SPACES = re.compile(" *")
_WIDE = "\uffff"  # second half of a wide character in a row; a noncharacter, never in a text
_TOKENS = re.compile(" +|[^ ]+")
_CANNOT_START = frozenset("、。，．・：；？！）］｝〉》」』】〕〗〙〛’”ー々…‥％")


class Grid:
    """Breaks paragraphs into rows of cells and draws them. Keeps an atlas of cells seen so far."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.columns, self.rows = style.columns, style.rows
        self._fonts = style.fonts
        self._faces: dict[tuple[int, float], Typeface] = {}
        main = self._fonts[0]
        ascent = int.from_bytes(main.tables["hhea"][4:6], "big", signed=True) / main.units_per_em
        descent = int.from_bytes(main.tables["hhea"][6:8], "big", signed=True) / main.units_per_em
        self._size = style.font_size * style.scale
        spare = style.cell_height - (ascent - descent) * self._size
        self._baseline = round(spare / 2 + ascent * self._size)
        self._atlas = np.full((256, style.cell_height, style.cell_width), 255, np.uint8)
        self._num_slots = 1  # slot 0 is blank
        self._slot_of = np.full(0x110000, -1, np.int32)
        self._slot_of[ord(" ")] = 0
        self._single = self._single_cells()

    def _single_cells(self) -> re.Pattern[str]:
        """Matches one or more characters that the first font draws in one cell each."""
        codes = sorted(
            code
            for code in self._fonts[0].glyph_of
            if code >= 0x20
            and unicodedata.category(chr(code))[0] in "LNPSZ"
            and not is_wide(code)
            and unicodedata.bidirectional(chr(code)) not in ("R", "AL", "AN")
        )
        return re.compile(f"[{_class_of(codes)}]*")

    # ── layout ──────────────────────────────────────────────────────────────────────────────────

    def pages(self, text: str, report: RenderReport) -> Iterator[LaidPage]:
        """The pages of a normalised text."""
        style = self.style
        for lines in cut_pages(
            self.lines(text, report),
            max_lines=self.rows,
            min_lines=style.min_lines or max(1, round(self.rows * 2 / 3)),
            stable=style.breaks == "stable",
        ):
            height = -(-len(lines) * style.cell_height // style.crop_multiple)
            height *= style.crop_multiple
            page = Page(
                index=report.num_pages,
                digest=digest("page", style.digest, height, *(line.shown for line in lines)),
                width=style.page_width,
                height=height,
                start=lines[0].start,
                end=lines[-1].end,
            )
            yield LaidPage(page, tuple(lines), self)

    def lines(self, text: str, report: RenderReport) -> Iterator[Line]:
        """The rows of a normalised text, in order; they tile it."""
        start, size = 0, len(text)
        while start < size:
            stop = text.find("\n", start)
            end = size if stop < 0 else stop
            after = size if stop < 0 else stop + 1
            paragraph = text[start:end]
            if self._single.fullmatch(paragraph):
                yield from self._wrap(paragraph, start, after)
            else:
                yield from self._wrap_any(paragraph, start, after, report)
            start = after

    def _wrap(self, text: str, start: int, after: int) -> Iterator[Line]:
        """Paragraph of single cells: words stay whole, spaces at a break hang over the edge."""
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
        shown, offsets = self._spell(text, start, report)
        pieces = list(_pieces(shown))
        line: list[tuple[int, int]] = []  # pieces (begin, end) of `shown` on this row
        used, index = 0, 0
        begin = 0
        out: list[tuple[int, int, int]] = []  # begin, end of what is drawn, end with hanging spaces
        while index < len(pieces):
            first, last, width, blank = pieces[index]
            if used + width <= self.columns:
                used += width
                line.append((first, last))
                index += 1
            elif blank:
                room = self.columns - used
                out.append((begin, first + room, last))
                begin, used, line = last, 0, []
                index += 1
            elif width > self.columns or not line:
                cut = _fit(shown, first, last, self.columns - used)
                if cut == first and not line:
                    cut = first + 1
                if cut > first:
                    pieces[index] = (cut, last, _width(shown[cut:last]), False)
                out.append((begin, cut, cut))
                begin, used, line = cut, 0, []
            else:
                out.append((begin, first, first))
                begin, used, line = first, 0, []
        if begin < len(shown) or not out:
            out.append((begin, len(shown), len(shown)))
        for number, (first, drawn, last) in enumerate(out):
            final = number == len(out) - 1
            yield Line(
                offsets[first] if first < len(shown) else start,
                after if final else offsets[last],
                shown[first:drawn],
                final,
                offsets[first:drawn],
                False,
            )

    def _spell(self, text: str, start: int, report: RenderReport) -> tuple[str, list[int]]:
        """Tabs as spaces, what no font has as escapes; and where each character comes from."""
        shown: list[str] = []
        offsets: list[int] = []
        column = 0
        for index, char in enumerate(text):
            if char == "\t":
                spelled = " " * (self.style.tab_width - column % self.style.tab_width)
            elif self._font_of(ord(char)) is None and char != "\u00a0":
                if unicodedata.category(char) == "Zs":
                    spelled = " "
                else:
                    report.missing_glyphs[char] += 1
                    spelled = f"[U+{ord(char):04X}]"
            else:
                spelled = char
            shown.append(spelled)
            offsets.extend([start + index] * len(spelled))
            column += _width(spelled)
        return "".join(shown), offsets

    # ── drawing ─────────────────────────────────────────────────────────────────────────────────

    def draw(self, laid: LaidPage) -> np.ndarray:
        """The page's pixels, uint8[height, width], black on white."""
        cell_height, cell_width = self.style.cell_height, self.style.cell_width
        rows = [
            line.shown
            if line.plain
            else "".join(char + _WIDE if is_wide(ord(char)) else char for char in line.shown)
            for line in laid.lines
        ]
        text = "".join(row[: self.columns].ljust(self.columns) for row in rows)
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        slots = self._slots(codes).reshape(len(rows), self.columns)
        cells = self._atlas[slots]  # [rows, columns, cell_height, cell_width]
        page = np.full((laid.page.height, laid.page.width), 255, np.uint8)
        page[: len(rows) * cell_height, : self.columns * cell_width] = cells.swapaxes(1, 2).reshape(
            len(rows) * cell_height, self.columns * cell_width
        )
        return page

    def edges(self, laid: LaidPage, index: int) -> np.ndarray:
        """Left edges of the characters of one line and the right end of the last, pixels."""
        cells = [2 if is_wide(ord(char)) else 1 for char in laid.lines[index].shown]
        return np.cumsum([0.0, *cells]) * self.style.cell_width

    def rows_of(self, laid: LaidPage, index: int) -> tuple[float, float]:
        """Top and bottom of one line, pixels."""
        return float(index * self.style.cell_height), float((index + 1) * self.style.cell_height)

    def cell_atlas(self, chars: str) -> np.ndarray:
        """The cells of single-cell characters, uint8[len(chars), cell_height, cell_width]."""
        wide = [char for char in chars if is_wide(ord(char))]
        if wide:
            raise InvalidOption(f"{wide[0]!r} takes two cells; ask for single-cell characters only")
        codes = np.frombuffer(chars.encode("utf-32-le"), np.uint32)
        cells: np.ndarray = self._atlas[self._slots(codes)]
        return cells

    def _slots(self, codes: np.ndarray) -> np.ndarray:
        slots: np.ndarray = self._slot_of[codes]
        if slots.min(initial=0) < 0:
            for code in np.unique(codes[slots < 0]).tolist():
                if code != ord(_WIDE):
                    self._add(code)
            slots = self._slot_of[codes]
        second = np.flatnonzero(codes == ord(_WIDE))
        slots[second] = slots[second - 1] + 1
        return slots

    def _add(self, code: int) -> None:
        """Draw one character into its one or two cells of the atlas."""
        cells = 2 if is_wide(code) else 1
        width, height = self.style.cell_width, self.style.cell_height
        picture = np.full((height, cells * width), 255, np.uint8)
        glyph, pen = self._glyph(code, cells)
        _stamp(picture, glyph, pen, self._baseline)
        while self._num_slots + cells > len(self._atlas):
            self._atlas = np.concatenate([self._atlas, np.full_like(self._atlas, 255)])
        for cell in range(cells):
            self._atlas[self._num_slots + cell] = picture[:, cell * width : (cell + 1) * width]
        self._slot_of[code] = self._num_slots
        self._num_slots += cells

    def _glyph(self, code: int, cells: int) -> tuple[Glyph, int]:
        """The glyph and the column of its pen, fallback fonts fitted into the cell."""
        number = self._font_of(code) or 0
        font = self._fonts[number]
        gid = font.glyph_of.get(code, 0)
        advance = float(font.advances[gid]) / font.units_per_em
        room = cells * self.style.cell_width
        size = self._size if cells == 1 else round(0.86 * self.style.cell_height)
        if number and advance * size > room:
            size = room / advance
        pen = round((room - advance * size) / 2) if number else 0
        face = self._faces.setdefault((number, size), Typeface(font, size))
        return face.glyph(gid), pen

    def _font_of(self, code: int) -> int | None:
        for number, font in enumerate(self._fonts):
            if code in font.glyph_of:
                return number
        return None


def is_wide(code: int) -> bool:
    """East Asian wide or full-width: two cells."""
    return code >= 0x1100 and unicodedata.east_asian_width(chr(code)) in "WF"


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return len(text) + sum(is_wide(ord(char)) for char in text)


def _fit(text: str, begin: int, end: int, room: int) -> int:
    """How far text[begin:] goes before it takes more than `room` cells."""
    while begin < end:
        room -= 2 if is_wide(ord(text[begin])) else 1
        if room < 0:
            break
        begin += 1
    return begin


def _pieces(text: str) -> Iterator[tuple[int, int, int, bool]]:
    """Unbreakable pieces: begin, end, cells, blank. Wide characters may be parted from each other,
    but not from closing punctuation behind them."""
    for match in _TOKENS.finditer(text):
        begin, end = match.span()
        if text[begin] == " ":
            yield begin, end, end - begin, True
            continue
        first = begin
        for index in range(begin + 1, end):
            here, before = is_wide(ord(text[index])), is_wide(ord(text[index - 1]))
            if (here or before) and text[index] not in _CANNOT_START:
                yield first, index, _width(text[first:index]), False
                first = index
        yield first, end, _width(text[first:end]), False


def _stamp(picture: np.ndarray, glyph: Glyph, pen: int, baseline: int) -> None:
    """Black ink on white, cut off at the cell's edges."""
    rows, columns = glyph.coverage.shape
    top, left = baseline + glyph.top, pen + glyph.left
    up, down = max(0, -top), max(0, min(rows, picture.shape[0] - top))
    near, far = max(0, -left), max(0, min(columns, picture.shape[1] - left))
    if up < down and near < far:
        ink = glyph.coverage[up:down, near:far]
        picture[top + up : top + down, left + near : left + far] -= ink


def _class_of(codes: list[int]) -> str:
    """A regular expression's character class of sorted code points."""
    out, index = [], 0
    while index < len(codes):
        last = index
        while last + 1 < len(codes) and codes[last + 1] == codes[last] + 1:
            last += 1
        out.append(f"\\U{codes[index]:08x}-\\U{codes[last]:08x}")
        index = last + 1
    return "".join(out)
