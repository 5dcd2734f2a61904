"""Pages in the reference's look, with breaks that survive edits and heights cropped to the text.

Same letters, same line breaks as `exact`; what depends on a line's number in the document (30 lines
to a paragraph, backgrounds over descenders) or on the whole document (Chinese anywhere) does not
happen here: a paragraph looks the same wherever it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from glyph_worker.document import Page, digest
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.set_runs import RunSetter
from glyph_worker.render.lines.typeset import WIDE, Typesetter, joined, source_lines
from glyph_worker.render.pages.breaks import greedy_pages, section_pages
from glyph_worker.render.pages.draw_lines import Ink
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.limits import FRAME_PADDING
from glyph_worker.render.style.style import Style


class Flow:
    """Lays out and draws documents of one style."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.setter = Typesetter(style)
        self._runs = RunSetter(self.setter)
        self._ink = Ink(style, self.setter)
        self._edge = style.margin_y + FRAME_PADDING
        self.rows = int((style.page_size[1] - 2 * self._edge + 1e-9) / style.leading)
        count = np.arange(self.rows)
        self._baselines = tuple(
            ((self._edge + style.font_size + count * style.leading) * style.scale).tolist()
        )

    def pages(self, text: str, report: RenderReport) -> Iterator[LaidPage]:
        """The pages of a normalised text."""
        style = self.style
        for lines in self._cut(self.lines(text, report)):
            height, width = self._height(len(lines)), self._width(lines)
            page = Page(
                index=report.num_pages,
                digest=digest("page", style.digest, height, width, joined(lines)),
                width=width,
                height=height,
                start=lines[0].start,
                end=lines[-1].end,
            )
            yield LaidPage(page, tuple(lines), self, self._baselines[: len(lines)])

    def lines(self, text: str, report: RenderReport) -> Iterator[Line]:
        """The drawn lines of a normalised text, in order; they tile it."""
        if self.style.form != "lines":
            yield from self._runs.lines(text, report)
            return
        ruler = self.setter.ruler(text)
        for start, end, after in source_lines(text):
            source = text[start:end]
            yield from self.setter.set_line(
                source,
                start,
                after,
                ruler,
                report,
                by_chars=WIDE.search(source) is not None,
                indent=True,
            )

    def _cut(self, lines: Iterator[Line]) -> Iterator[list[Line]]:
        if self.style.breaks == "greedy":
            return greedy_pages(lines, self.rows)
        heights = [self._height(count) for count in range(self.rows + 1)]
        return section_pages(lines, min_lines=self.style.min_lines, heights=heights)

    def draw(self, laid: LaidPage) -> np.ndarray:
        """uint8[height, width]"""
        return self._ink.draw(laid, laid.page.width, laid.page.height)

    def boxes(self, laid: LaidPage, index: int) -> np.ndarray:
        """Left and right edge of every character shown on a line, float64[n, 2] pixels."""
        return self._ink.boxes(laid.lines[index])

    def rows_of(self, laid: LaidPage, index: int) -> tuple[float, float]:
        """Top and bottom of one line, pixels."""
        leading = self.style.leading * self.style.scale
        top = laid.baselines[index] - 0.8 * leading  # the rest is for descenders
        return top, top + leading

    def reach(self, lines: list[Line]) -> float:
        """Points from the frame's left edge to where the longest of some lines ends."""
        return self._ink.reach(lines)

    def _width(self, lines: list[Line]) -> int:
        """Page width in pixels: the lines and the margins, up to the next crop multiple."""
        style = self.style
        if not style.auto_crop_width or any(line.rtl for line in lines):
            return style.page_width
        multiple = style.crop_multiple
        # Most pages hold a row as wide as they are, and the longest row tells so.
        sizes = [len(line.shown) for line in lines]
        longest = lines[sizes.index(max(sizes))]
        for some in ([longest], lines):
            written = 2 * self._ink.left + self._ink.reach(some)
            rounded = math.ceil(written * style.scale / multiple - 1e-9) * multiple
            if rounded >= style.page_width:
                return style.page_width
        return max(multiple, rounded)

    def _height(self, num_lines: int) -> int:
        """Page height in pixels: the text and its margins, up to the next crop multiple."""
        style = self.style
        written = (2 * self._edge + num_lines * style.leading) * style.scale
        rounded = math.ceil(written / style.crop_multiple - 1e-9) * style.crop_multiple
        full = style.page_height // style.crop_multiple * style.crop_multiple
        return min(rounded, full)
