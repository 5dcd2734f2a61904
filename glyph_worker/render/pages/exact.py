"""Pages as the reference lays them out: reportlab's paragraphs, frame and splits.

Kept as it is there: 30 source lines are a paragraph, whose background paints over descenders of the
line above it; an empty last line of a paragraph vanishes; a page never ends on the first line of a
paragraph; a split after a line end puts an empty line on top of the next page. Not kept: after a
page split of Chinese text reportlab inserts a space at every old line end and wraps again, which
loses the layout; here the lines stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, repeat
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from PIL import Image

from glyph_worker.document import Page, digest
from glyph_worker.render.fonts.reference_numbers import as_poppler_reads, printed
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.paragraphs import Paragraphs
from glyph_worker.render.lines.typeset import CJK, Typesetter, joined
from glyph_worker.render.loops.blit import fastest
from glyph_worker.render.pages.draw_lines import Ink
from glyph_worker.render.pages.page import Block, LaidPage
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.limits import FRAME_PADDING
from glyph_worker.render.style.style import Style

_FUZZ = 1e-6
_LEFT = itemgetter(Line._fields.index("left"))
_STRIDE = 48  # rows looked at together for the last ink


class Sheet(NamedTuple):
    """The lines of one page, their baselines (pixels from the top) and painted backgrounds."""

    lines: list[Line]
    baselines: list[float]
    blocks: list[Block]


class Exact:
    """Places the lines of a document on pages the way reportlab's frame does, and draws them."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.setter = Typesetter(style)
        self._paragraphs = Paragraphs(style, self.setter)
        self._ink = Ink(style, self.setter)
        y1 = style.margin_y
        y2 = y1 + (style.page_size[1] - style.margin_y - style.margin_y)
        self._floor = y1 + FRAME_PADDING
        self._ceiling = y2 - FRAME_PADDING
        step, rows = as_poppler_reads(style.leading), int(style.page_size[1] / style.leading) + 2
        self._downs = tuple(accumulate(repeat(-step, rows), initial=0.0))
        """From a paragraph's first baseline to its others, points; they add up as poppler's do."""

    def pages(self, text: str, report: RenderReport) -> Iterator[LaidPage]:
        """The pages of a normalised text. Those to be cropped are drawn here, to learn their size.

        The digest covers lines, places and style, never pixels.
        """
        held: Sheet | None = None
        for sheet in self._sheets(text, report):
            if held is not None:
                yield self._laid(held, report, last=False)
            held = sheet
        if held is not None:
            yield self._laid(held, report, last=True)

    def draw(self, laid: LaidPage) -> np.ndarray:
        """uint8[height, width], cropped as the style says."""
        if laid.drawn is not None:
            return laid.drawn
        return self._uncropped(laid)

    def boxes(self, laid: LaidPage, index: int) -> np.ndarray:
        """Left and right edge of every character shown on a line, float64[n, 2] pixels."""
        return self._ink.boxes(laid.lines[index]) * self.style.horizontal_scale

    def rows_of(self, laid: LaidPage, index: int) -> tuple[float, float]:
        """Top and bottom of one line, pixels."""
        leading = self.style.leading * self.style.scale
        top = laid.baselines[index] - 0.8 * leading  # the rest is for descenders
        return top, top + leading

    def _laid(self, sheet: Sheet, report: RenderReport, *, last: bool) -> LaidPage:
        style = self.style
        cropped_low = style.auto_crop_last_page and last
        placed = repr((sheet.blocks, cropped_low))
        page = Page(
            index=report.num_pages,
            digest=digest(
                *("page", style.digest, joined(sheet.lines), placed),
                np.array(sheet.baselines, "<f8").tobytes(),
            ),
            width=int(style.page_width * style.horizontal_scale),
            height=style.page_height,
            start=sheet.lines[0].start,
            end=sheet.lines[-1].end,
        )
        laid = LaidPage(page, tuple(sheet.lines), self, tuple(sheet.baselines), tuple(sheet.blocks))
        if style.auto_crop_width or cropped_low:
            pixels = self._uncropped(laid)
            width, height = self._cropped(pixels, cropped_low)
            cropped = replace(page, width=width, height=height)
            laid = replace(laid, page=cropped, drawn=pixels[:height, :width])
        return laid

    def _uncropped(self, laid: LaidPage) -> np.ndarray:
        style = self.style
        page = self._ink.draw(laid, style.page_width, style.page_height)
        width = int(style.page_width * style.horizontal_scale)
        if width != style.page_width:
            page = np.asarray(Image.fromarray(page).resize((width, style.page_height)))
        return page

    def _cropped(self, page: np.ndarray, low: bool) -> tuple[int, int]:
        """Width and height after the reference's cropping: its ink threshold, its margins."""
        height, width = page.shape
        corner = sorted(page[:2, :2].ravel().tolist())
        ground = (corner[(len(corner) - 1) // 2] + corner[len(corner) // 2]) / 2
        right, lower = width, height
        if self.style.auto_crop_width:
            if ground + 5 >= 255:  # white paper: nothing on it is lighter
                last = fastest().last_column(page, math.ceil(ground - 5))
                last = None if last < 0 else last
            else:
                last = _last_inked(page.T, ground)
            if last is not None:
                right = min(width, round(last + 1 + self.style.margin_x))
        if low:
            last = _last_inked(page, ground)
            if last is not None:
                lower = min(height, round(last + self.style.margin_y))
        return right, max(1, lower)

    def _sheets(self, text: str, report: RenderReport) -> Iterator[Sheet]:
        """All pages of a normalised text, in order."""
        by_chars = not text.isascii() and CJK.search(text) is not None
        sheet, y = Sheet([], [], []), self._ceiling
        at_top, space_below = True, 0.0
        leading = self.style.leading
        for rest, begin, end in self._paragraphs.of(text, report, by_chars):
            if not rest:  # drawn as nothing at all: its characters go to the line above
                if sheet.lines and y > self._floor:
                    sheet.lines[-1] = sheet.lines[-1]._replace(end=end)
                    self._place(sheet, [], y)
                    continue
                rest = [Line(begin, end, "", True, range(0))]
            while True:
                above = 0.0 if at_top else max(self.style.space_before - space_below, 0.0)
                room = y - self._floor - above
                fits = room > 0 and y - (len(rest) * leading + above) >= self._floor - _FUZZ
                if fits:
                    y -= len(rest) * leading + above
                    self._place(sheet, rest, y)
                    y -= self.style.space_after
                    at_top, space_below = False, self.style.space_after
                    break
                count = int(room / leading) if room > 0 else 0
                if 1 < count < len(rest):
                    head, rest = _split(rest, count, by_chars)
                    y -= len(head) * leading + above
                    self._place(sheet, head, y)
                elif at_top and count <= 1:
                    # reportlab gives up on a page of a single line; a line is put on it instead.
                    y -= leading
                    self._place(sheet, rest[:1], y)
                    rest = rest[1:]
                    if not rest:
                        at_top = False
                        break
                yield sheet
                sheet, y = Sheet([], [], []), self._ceiling
                at_top, space_below = True, 0.0
        if sheet.lines:
            yield sheet

    def _place(self, sheet: Sheet, lines: list[Line], y: float) -> None:
        """Put a paragraph whose lower edge is at `y` points on the sheet."""
        style, scale = self.style, self.style.scale
        height = len(lines) * style.leading
        origin = as_poppler_reads(y) * -scale + as_poppler_reads(style.page_size[1]) * scale
        first = len(sheet.lines)
        low = as_poppler_reads(-style.border_padding)
        high = low + as_poppler_reads(height + 2 * style.border_padding)
        top = math.floor(origin - high * scale + 0.5)
        bottom = max(math.floor(origin - low * scale + 0.5), top + 1)
        if high == low:  # poppler leaves a faint trace of it
            top = bottom = math.floor(origin - low * scale)
        pen = as_poppler_reads(height - style.font_size)
        downs = self._downs[: len(lines)]
        sheet.baselines.extend([origin - (down + pen) * scale for down in downs])
        sheet.lines.extend(_moved(lines))
        sheet.blocks.append(Block(top, bottom, first, len(sheet.lines)))


def _split(lines: list[Line], count: int, by_chars: bool) -> tuple[list[Line], list[Line]]:
    """A paragraph cut by a page's end, after `count` lines.

    In reportlab the line end at the cut goes to the next page. There it makes an empty line; here
    an empty line that it ended is gone.
    """
    head, rest = lines[:count], lines[count:]
    if not head[-1].ends_paragraph or by_chars:
        return head, rest
    if not head[-1].shown:
        gone = head.pop()
        head[-1] = head[-1]._replace(end=gone.end)
    start = rest[0].start
    return head, [Line(start, start, "", True), *rest]


def _moved(lines: list[Line]) -> list[Line]:
    """Lines with their pens where poppler's text moves leave them (rounded steps add up)."""
    if not any(map(_LEFT, lines)):
        return lines
    out, at, back = [], 0.0, 0.0  # `back` is the move printed after the line before
    for line in lines:
        if abs(line.left) > _FUZZ:
            at += as_poppler_reads(line.left + back)
            back = float(printed(-line.left))
        else:
            at += as_poppler_reads(back)
            back = 0.0
        out.append(line._replace(left=at))
    return out


def _last_inked(page: np.ndarray, ground: float) -> int | None:
    """The last row that differs from the ground by more than 5 levels somewhere."""
    for stop in range(len(page), 0, -_STRIDE):  # from behind: ink is seldom far
        part = page[max(0, stop - _STRIDE) : stop]
        ink = part.min(axis=1) < ground - 5
        if ground + 5 < 255:
            ink |= part.max(axis=1) > ground + 5
        if ink.any():
            return stop - len(part) + int(np.flatnonzero(ink)[-1])
    return None
