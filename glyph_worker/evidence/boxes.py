"""Places in a document → pages and pixels. Lays out single pages again, never draws one.

A page's digest covers all that changes its pixels, so a page that is laid out again from a part of
the text alone, and gets the digest that the whole document's layout had given it, is that page.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from glyph_worker.document import Page
from glyph_worker.evidence.index import Span
from glyph_worker.proof import Box
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.pages.pagemap import locate
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.style import Style

MAX_BOXES = 64
"""Of one citation: a page is no help to find what covers it."""
MAX_WHOLE_CHARS = 200_000
"""A document up to here is laid out whole where a page of it cannot be laid out alone."""


class PageMap:
    """One document's pages in one style, laid out again as they are asked for."""

    def __init__(self, text: str, style: Style, pages: Sequence[Page]) -> None:
        """`text` is in normal form; `pages` are all of it, in order."""
        self._text = text
        self._style = style
        self._pages = pages
        self._starts = [page.start for page in pages]
        self._laid: dict[int, tuple[LaidPage, int] | None] = {}
        self._whole: list[LaidPage] | None = None

    def page_of(self, span: Span) -> int | None:
        """Number, from 1, of the page that a place begins on; None where no page has it."""
        at = bisect_right(self._starts, span[0]) - 1
        return self._pages[at].index + 1 if at >= 0 and span[0] < self._pages[at].end else None

    def boxes(self, span: Span) -> tuple[Box, ...]:
        """Rectangles in pixels, from top to bottom; () where a page cannot be laid out again."""
        found: list[Box] = []
        first = max(0, bisect_right(self._starts, span[0]) - 1)
        for page in self._pages[first:]:
            if page.start >= span[1] or len(found) >= MAX_BOXES:
                break
            laid = self._lay(page)
            if laid is None:
                return ()
            one, shift = laid
            for part in locate(
                [one], max(span[0], page.start) - shift, min(span[1], page.end) - shift
            ):
                found.append(
                    Box(
                        page=page.index + 1,
                        left=round(part.left, 1),
                        top=round(part.top, 1),
                        right=round(part.right, 1),
                        bottom=round(part.bottom, 1),
                    )
                )
        return tuple(found[:MAX_BOXES])

    def _lay(self, page: Page) -> tuple[LaidPage, int] | None:
        """The page with its lines, and how far its offsets are from the document's."""
        if page.index not in self._laid:
            self._laid[page.index] = self._lay_again(page)
        return self._laid[page.index]

    def _lay_again(self, page: Page) -> tuple[LaidPage, int] | None:
        if self._whole is not None:
            return self._of_whole(page)
        last = len(self._pages) - 1
        for around in (0, 1):
            begin = self._pages[max(0, page.index - around)].start
            end = self._pages[min(last, page.index + around)].end
            for laid in paginate(self._text[begin:end], self._style):
                if laid.page.digest == page.digest and laid.page.start + begin == page.start:
                    return laid, begin
        if len(self._text) > MAX_WHOLE_CHARS:
            return None
        self._whole = list(paginate(self._text, self._style))
        return self._of_whole(page)

    def _of_whole(self, page: Page) -> tuple[LaidPage, int] | None:
        laid = self._whole[page.index] if self._whole and page.index < len(self._whole) else None
        return (laid, 0) if laid is not None and laid.page.digest == page.digest else None
