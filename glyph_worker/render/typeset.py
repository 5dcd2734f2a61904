"""Source lines to drawn lines at point precision, for `exact` and `flow`. No pages, no pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from glyph_worker.render.glyphs import Glyphs
from glyph_worker.render.page import Line, RenderReport
from glyph_worker.render.pdfnum import passed
from glyph_worker.render.ruler import Ruler
from glyph_worker.render.spell import Speller
from glyph_worker.render.style import FRAME_PADDING, Style
from glyph_worker.render.wrap import Piece, wrap_chars, wrap_measured, wrap_words

CJK = re.compile("[\u4e00-\u9fff]")
"""What makes the reference break by characters; the whole document (exact), a paragraph (flow)."""
_TOUCH = 1e-8


class Typesetter:
    """Breaks source lines into drawn lines of one style."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.glyphs = Glyphs(style.fonts, style.font_size, style.scale)
        self.speller = Speller(
            (code for font in style.fonts for code in font.glyph_of),
            lambda code: self.glyphs.font_of(code) is not None,
            tab_width=style.tab_width,
            collapse=style.layout == "exact",
        )
        x1, x2 = style.margin_x, style.margin_x + (style.page_size[0] - 2 * style.margin_x)
        self.frame_left = passed(x1 + FRAME_PADDING)
        self.frame_width = x2 - x1 - FRAME_PADDING - FRAME_PADDING
        self.later = self.frame_width - style.left_indent - style.right_indent
        self.first = (
            self.frame_width - (style.left_indent + style.first_line_indent) - style.right_indent
        )

    def set_line(
        self,
        text: str,
        start: int,
        after: int,
        ruler: Ruler,
        report: RenderReport,
        *,
        by_chars: bool,
        indent: bool = False,
        simple: bool = False,
    ) -> Iterator[Line]:
        """One source line, text[0] at `start`, the next source line at `after`.

        A blank line gives one empty line. `indent`: it opens a paragraph (first-line-indent);
        `simple`: it is a paragraph by itself (exact), whose last line is not justified.
        """
        shown, offsets = self.speller.spell(text, start, report)
        first = self.first if indent else self.later
        if by_chars:
            pieces = self._by_chars(shown, None if offsets is not None else start, ruler, first)
        else:
            pieces = self._by_words(shown, None if offsets is not None else start, ruler, first)
        held = next(pieces, None)
        if held is None:
            yield Line(start, after, "", True, range(0))
            return
        begin, number = start, 0
        while held is not None:
            following = next(pieces, None)
            last = following is None
            if following is None:
                end = after
            else:
                end = start + following.begin if offsets is None else offsets[following.begin]
            drawn = shown[held.begin : held.end]
            own = None if offsets is None else offsets[held.begin : held.end]
            if own is None and held.begin + start != begin:  # spaces stripped before the line
                own = range(start + held.begin, start + held.end)
            left, space = self._aligned(held, drawn, last, indent and number == 0, simple, by_chars)
            yield Line(begin, end, drawn, last, own, True, left, space)
            begin, held, number = end, following, number + 1

    def _by_words(
        self, shown: str, start: int | None, ruler: Ruler, first: float
    ) -> Iterator[Piece]:
        """Pieces of a source line; `start` is its offset if it is drawn as it stands."""
        width, space = self.glyphs.width_of, self.glyphs.space
        measured = None if start is None else ruler.word_ends(start, start + len(shown))
        if measured is None:
            return wrap_words(shown, width_of=width, first=first, later=self.later, space=space)
        return wrap_measured(
            shown, *measured, width_of=width, first=first, later=self.later, space=space
        )

    def _by_chars(
        self, shown: str, start: int | None, ruler: Ruler, first: float
    ) -> Iterator[Piece]:
        measured = None if start is None else ruler.char_ends(start, start + len(shown))
        if measured is None:
            sums = np.concatenate([[0.0], np.cumsum(self.glyphs.widths_of(shown))])
            measured = sums.tolist(), 0
        return wrap_chars(shown, *measured, first=first, later=self.later)

    def _aligned(
        self, piece: Piece, shown: str, last: bool, indent: bool, simple: bool, by_chars: bool
    ) -> tuple[float, float]:
        """Pen start (points from the frame) and word space of a line."""
        style, extra = self.style, piece.extra
        left = style.left_indent + (style.first_line_indent if indent else 0.0)
        if style.alignment == "JUSTIFY":
            ragged = last and (not simple or extra > -_TOUCH)
            if ragged or -_TOUCH < extra <= _TOUCH:
                return left, 0.0
        elif extra > -_TOUCH:
            if style.alignment == "CENTER":
                left += passed(0.5 * extra)
            elif style.alignment == "RIGHT":
                left += passed(extra)
            return left, 0.0
        spaces = shown.count("\u00a0") + (0 if by_chars else piece.num_words - 1)
        return left, passed(extra / spaces) if spaces > 0 else 0.0


def source_lines(text: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and next start of every source line; none after a final line end."""
    start, size = 0, len(text)
    while start < size:
        stop = text.find("\n", start)
        if stop < 0:
            yield start, size, size
            return
        yield start, stop, stop + 1
        start = stop + 1


def joined(lines: Iterable[Line]) -> str:
    """All that decides the pixels of a run of lines, as one string for the digest."""
    return "\n".join(
        f"{line.shown}\t{line.left!r}\t{line.word_space!r}\t{line.marked}" for line in lines
    )
