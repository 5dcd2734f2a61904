"""Text to pages: normal form, lines, page breaks, digests. No pixels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from glyph_worker.document import Page, digest
from glyph_worker.render.breaks import cut_pages
from glyph_worker.render.grid import Grid
from glyph_worker.render.normalize import Normalized, normalize
from glyph_worker.render.page import LaidPage, Line, RenderReport
from glyph_worker.render.style import Style


class Pagination(Iterator[LaidPage]):
    """The pages of one document, laid out as they are asked for; a page at a time is in memory."""

    def __init__(self, text: str | Normalized, style: Style) -> None:
        self.normalized = text if isinstance(text, Normalized) else normalize(text)
        self.style = style
        self.report = RenderReport(
            num_chars=len(self.normalized.text), normalized=dict(self.normalized.counts)
        )
        """Complete once the last page has been taken."""
        self._pages = self._laid()

    def __next__(self) -> LaidPage:
        return next(self._pages)

    def _laid(self) -> Iterator[LaidPage]:
        layout = layout_of(self.style)
        lines = layout.lines(self.normalized.text, self.report)
        full = layout.rows
        low = self.style.min_lines or max(1, round(full * 2 / 3))
        for held in cut_pages(
            lines, max_lines=full, min_lines=min(low, full), stable=self.style.breaks == "stable"
        ):
            page = self._page(held)
            self.report.num_pages += 1
            self.report.num_lines += len(held)
            yield LaidPage(page, tuple(held), layout)

    def _page(self, lines: list[Line]) -> Page:
        style = self.style
        multiple = style.crop_multiple
        height = -(-len(lines) * style.cell_height // multiple) * multiple
        shown = "\n".join(line.shown for line in lines)
        return Page(
            index=self.report.num_pages,
            digest=digest("page", style.digest, height, shown),
            width=style.page_width,
            height=height,
            start=lines[0].start,
            end=lines[-1].end,
        )


def paginate(text: str | Normalized, style: Style) -> Pagination:
    """Lay out a document page by page, in bounded memory; `report` fills up on the way.

    Raises FontUnusable. Any text can be laid out; an empty one has no pages.
    """
    return Pagination(text, style)


@lru_cache(maxsize=8)
def _layout(digest_: str, style: Style) -> Grid:
    return Grid(style)


def layout_of(style: Style) -> Grid:
    """The layout of a style. Layouts keep their glyphs, so equal styles share one."""
    return _layout(style.digest, style)
