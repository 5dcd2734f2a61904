"""Text to pages: normal form, then the layout of the style, page by page. No pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

from glyph_worker.document import PART_END
from glyph_worker.render.lines.normalize import Normalized, normalize
from glyph_worker.render.pages.exact import Exact
from glyph_worker.render.pages.flow import Flow
from glyph_worker.render.pages.grid import Grid
from glyph_worker.render.pages.page import LaidPage, Layout
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.style import Style


class Pagination(Iterator[LaidPage]):
    """The pages of one document, laid out as they are asked for; a page at a time is in memory."""

    def __init__(self, text: str | Normalized, style: Style) -> None:
        self.normalized = text if isinstance(text, Normalized) else normalize(text)
        self.style = style
        self.report = RenderReport(
            num_chars=len(self.normalized.text), normalized=dict(self.normalized.counts)
        )
        """Complete once the last page has been taken."""
        self._pages = _laid_parts(self.normalized.text, layout_of(style), self.report)

    def __next__(self) -> LaidPage:
        laid = next(self._pages)
        self.report.num_pages += 1
        self.report.num_lines += len(laid.lines)
        return laid


def _laid_parts(text: str, layout: Layout, report: RenderReport) -> Iterator[LaidPage]:
    """The pages of each part, laid out as if it stood alone: its pages are drawn, encoded and kept
    once, whatever else a document holds. The mark that ends a part belongs to its last page.
    """
    if PART_END not in text:
        yield from layout.pages(text, report)
        return
    held: LaidPage | None = None
    start = index = begin = 0
    for part in text.split(PART_END):
        for laid in layout.pages(part, report):
            if held is not None:
                begin = start + laid.page.start
                yield _reaching(held, begin)
            held = _placed(laid, begin, start, index)
            index += 1
        start += len(part) + 1
    if held is not None:
        yield _reaching(held, len(text))


def _placed(laid: LaidPage, begin: int, shift: int, index: int) -> LaidPage:
    """A part's page as the document's: from `begin` on, its lines `shift` characters further."""
    page = replace(laid.page, index=index, start=begin, end=laid.page.end + shift)
    lines = [
        line._replace(
            start=line.start + shift,
            end=line.end + shift,
            offsets=None if line.offsets is None else [at + shift for at in line.offsets],
        )
        for line in laid.lines
    ]
    if lines[0].start != begin:  # empty parts before the first page are its own
        first = lines[0]
        drawn = [first.offset_of(at) for at in range(len(first.shown))]
        lines[0] = first._replace(start=begin, offsets=drawn)
    return replace(laid, page=page, lines=tuple(lines))


def _reaching(laid: LaidPage, end: int) -> LaidPage:
    """The page up to where the next begins: the marks between two parts are the former's."""
    if laid.page.end == end:
        return laid
    lines = (*laid.lines[:-1], laid.lines[-1]._replace(end=end))
    return replace(laid, page=replace(laid.page, end=end), lines=lines)


def paginate(text: str | Normalized, style: Style) -> Pagination:
    """Lay out a document page by page, in bounded memory; `report` fills up on the way.

    Raises FontUnusable. Any text can be laid out; an empty one has no pages.
    """
    return Pagination(text, style)


@lru_cache(maxsize=8)
def _layout(_digest: str, style: Style) -> Layout:
    kinds: dict[str, Callable[[Style], Layout]] = {"exact": Exact, "flow": Flow, "grid": Grid}
    return kinds[style.layout](style)


def layout_of(style: Style) -> Layout:
    """The layout of a style. Layouts keep their glyphs, so equal styles share one."""
    return _layout(style.digest, style)
