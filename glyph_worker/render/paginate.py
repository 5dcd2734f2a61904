"""Text to pages: normal form, then the layout of the style, page by page. No pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

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
        self._pages = layout_of(style).pages(self.normalized.text, self.report)

    def __next__(self) -> LaidPage:
        laid = next(self._pages)
        self.report.num_pages += 1
        self.report.num_lines += len(laid.lines)
        return laid


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
