"""Which characters of the document lie where on a page, in pixels. Draws nothing.

Spans of pages are half-open ranges of the normalised text. The spans of all lines of all pages, in
order, tile it; characters that are not drawn (spaces at a line's end, three of four that a mark
stands for) lie behind the last that is drawn before them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np

from glyph_worker.document import PageSpan
from glyph_worker.render.pages.page import LaidPage


def line_spans(laid: LaidPage) -> Iterator[PageSpan]:
    """One span for every line of a page, from top to bottom."""
    for index, line in enumerate(laid.lines):
        yield _span(laid, index, line.start, line.end)


def locate(pages: Iterable[LaidPage], start: int, end: int) -> list[PageSpan]:
    """Where the characters [start, end) lie: a span for every line that has some of them."""
    found = []
    for laid in pages:
        if laid.page.start < end and start < laid.page.end:
            starts = [line.start for line in laid.lines]
            for index in range(max(0, bisect_right(starts, start) - 1), len(starts)):
                line = laid.lines[index]
                low, high = max(start, line.start), min(end, line.end)
                if low < high:
                    found.append(_span(laid, index, low, high))
                elif line.start >= end:
                    break
    return found


def positions(laid: LaidPage, index: int) -> dict[int, tuple[float, float]]:
    """Left and right edge in pixels by offset, for every character drawn on line `index`."""
    line = laid.lines[index]
    edges: dict[int, tuple[float, float]] = {}
    for at, (left, right) in enumerate(laid.layout.boxes(laid, index).tolist()):
        offset = line.offset_of(at)
        low, high = edges.get(offset, (left, right))
        edges[offset] = min(low, left), max(high, right)
    return edges


def _span(laid: LaidPage, index: int, start: int, end: int) -> PageSpan:
    line = laid.lines[index]
    boxes = laid.layout.boxes(laid, index)
    top, bottom = laid.layout.rows_of(laid, index)
    offsets = np.array([line.offset_of(at) for at in range(len(line.shown))], np.int64)
    own = boxes[(offsets >= start) & (offsets < end)]
    if len(own):
        left, right = float(own[:, 0].min()), float(own[:, 1].max())
    else:
        drawn = np.flatnonzero(offsets < end)
        edge = (
            boxes[drawn[-1], 0 if line.rtl else 1] if len(drawn) else boxes[:, 0].min(initial=0.0)
        )
        left = right = float(edge)
    return PageSpan(
        page=laid.page.index, start=start, end=end, left=left, top=top, right=right, bottom=bottom
    )
