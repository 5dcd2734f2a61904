"""Pages that people brought as pictures, among those that are drawn. Decodes as they are drawn.

A sheet is shown as its picture where it has one and the checkpoint reads pictures, or where that
was asked for; else its text is drawn like any other.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from glyph_worker.document import Document, Page, Sheet, digest
from glyph_worker.errors import UnreadableDocument
from glyph_worker.model.families.pages import PageShape
from glyph_worker.render.lines.normalize import normalize
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.paginate import Pagination, paginate
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.style import Style

MAX_PAGE_PIXELS = 1_254_400
"""Of a picture's page image: 1,600 visual tokens of 28 pixels a side."""
REVISION = 1
"""Of the way a picture becomes a page image."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The drawing of one page, which is a picture and has no line."""

    encoded: bytes
    in_color: bool = False

    def draw(self, laid: LaidPage) -> np.ndarray:
        """uint8[height, width], or [height, width, 3]"""
        with Image.open(io.BytesIO(self.encoded), formats=("PNG", "JPEG")) as opened:
            shown = opened.convert("RGB" if self.in_color else "L")
        size = (laid.page.width, laid.page.height)
        if shown.size != size:
            shown = shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
        return np.asarray(shown, dtype=np.uint8)

    def boxes(self, laid: LaidPage, index: int) -> np.ndarray:
        raise IndexError(index)

    def rows_of(self, laid: LaidPage, index: int) -> tuple[float, float]:
        raise IndexError(index)


def shown_as_picture(sheet: Sheet, shape: PageShape) -> bool:
    return bool(sheet.picture) and (sheet.always or shape.reads_pictures)


def picture_size(width: int, height: int, shape: PageShape) -> tuple[int, int]:
    """Width and height of a picture's page image: whole visual tokens, and not too many."""
    if shape.square is not None:
        return shape.square, shape.square
    scale = min(1.0, math.sqrt(MAX_PAGE_PIXELS / (width * height)))
    wide, tall = (max(1, round(side * scale / shape.token)) for side in (width, height))
    return wide * shape.token, tall * shape.token


def picture_digest(sheet: Sheet, width: int, height: int, *, in_color: bool = False) -> str:
    """Of the page image of that size that shows a sheet."""
    more = ["color"] if in_color else []
    return digest("picture page", REVISION, width, height, sheet.picture, *more)


def shows(page: Page, sheet: Sheet) -> bool:
    """Whether a page is the image of this sheet."""
    return page.digest in {
        picture_digest(sheet, page.width, page.height, in_color=in_color)
        for in_color in (False, True)
    }


def lay_out(document: Document, style: Style, shape: PageShape) -> Pagination | Pictured:
    """Its pages in order, drawn and pictures, as they are asked for; `report` fills up on the way.

    Raises FontUnusable, and UnreadableDocument where all it has are pictures that this checkpoint
    does not read.
    """
    if not any(shown_as_picture(sheet, shape) for sheet in document.sheets):
        if document.sheets and not document.text.strip():
            raise UnreadableDocument(
                "the document's pages are pictures without text, and this model reads none; ask "
                "one that does, install OCR where documents are sent (pip install "
                "'glyph_worker[ocr]'), or send them with pdf='image' to try all the same"
            )
        return paginate(document.text, style)
    return Pictured(document, style, shape)


class Pictured(Iterator[LaidPage]):
    """As Pagination, of a document some of whose sheets are shown as pictures."""

    def __init__(self, document: Document, style: Style, shape: PageShape) -> None:
        self.report = RenderReport()
        self._document = document
        self._style = style
        self._shape = shape
        self._pages = self._all()

    def __next__(self) -> LaidPage:
        return next(self._pages)

    def _all(self) -> Iterator[LaidPage]:
        text, at = self._document.text, 0
        index = offset = 0
        for sheet in (*self._document.sheets, None):
            if sheet is not None and not shown_as_picture(sheet, self._shape):
                continue
            until = len(text) if sheet is None else sheet.start
            laid = paginate(text[at:until], self._style)
            for one in laid:
                yield _moved(one, index, offset)
                index += 1
            offset += len(laid.normalized.text)
            self._count(laid.report)
            if sheet is not None:
                length = len(normalize(text[sheet.start : sheet.end]).text)
                page = self._picture(sheet, index, offset, offset + length)
                self.report.num_pages += 1
                yield page
                index, offset, at = index + 1, offset + length, sheet.end

    def _picture(self, sheet: Sheet, index: int, start: int, end: int) -> LaidPage:
        with Image.open(io.BytesIO(sheet.picture), formats=("PNG", "JPEG")) as opened:
            width, height = picture_size(*opened.size, self._shape)
            in_color = self._shape.sees_color and opened.mode == "RGB"
        page = Page(
            index=index,
            digest=picture_digest(sheet, width, height, in_color=in_color),
            width=width,
            height=height,
            start=start,
            end=end,
        )
        return LaidPage(page=page, lines=(), layout=Picture(sheet.picture, in_color))

    def _count(self, report: RenderReport) -> None:
        self.report.num_chars += report.num_chars
        self.report.num_lines += report.num_lines
        self.report.num_pages += report.num_pages
        self.report.missing_glyphs += report.missing_glyphs
        for name, number in report.normalized.items():
            self.report.normalized[name] = self.report.normalized.get(name, 0) + number


def _moved(laid: LaidPage, index: int, offset: int) -> LaidPage:
    """A page of a part of the text, as one of the whole document."""
    if not offset and laid.page.index == index:
        return laid
    page = replace(
        laid.page, index=index, start=laid.page.start + offset, end=laid.page.end + offset
    )
    return replace(laid, page=page)
