"""A PDF's pages as words with their places, by pdfium: also AES, and the values of its forms."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from glyph_worker.document import Sheet, SheetMode
from glyph_worker.errors import DocumentTooLarge, UnreadableDocument
from glyph_worker.intake.pdf_layout import blocks_of
from glyph_worker.intake.places import Frame, check_bytes, numbered, placed
from glyph_worker.intake.reflow import Block, Word, join_pages

MAX_PAGES = 5_000

_FIXED_PITCH = 1
_TYPEWRITERS = re.compile(rb"courier|mono|consol|menlo|typewriter|cmtt|cour\b", re.IGNORECASE)
_NO_BLANK = 0.08
"""Of the type size."""
_RAISED, _SMALLER = 0.15, 0.85
"""Shares of the type size: how far and how much smaller an exponent stands than its word."""
_HYPHENS = frozenset({0x02, 0xFFFE})
"""How pdfium gives a hyphen that breaks a word at the end of a line."""
_SPACES = frozenset({0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000})
_UNSEEN = dict.fromkeys([*range(0x09), *range(0x0B, 0x0D), *range(0x0E, 0x20), 0xFFFF])


MAX_PLACED_CHARS = 4_000_000
"""Of the text; words behind that have no places, which take a few bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _PageRead:
    words: list[Word]
    is_drawn: bool
    frame: Frame
    picture: bytes = b""


def text_of_pdf(raw: bytes, *, max_bytes: int) -> tuple[str, list[str]]:
    """(The text, what the reader should know of what is not in it).

    Raises UnreadableDocument for one that is damaged, asks for a password, or holds pictures only;
    DocumentTooLarge.
    """
    text, sheets, unread = sheets_of_pdf(raw, max_bytes=max_bytes, mode="text")
    if not text.strip():
        raise only_pictures(len(sheets), unread)
    return text, notes_of(len(sheets), unread)


def sheets_of_pdf(
    raw: bytes, *, max_bytes: int, mode: SheetMode, max_picture_bytes: int = 0
) -> tuple[str, list[Sheet], list[int]]:
    """(The text, the pages with their words' places, numbers of those without text of their own).

    Pages are pictures as well where `mode` is `image`, and where it is `auto` and they have no text
    but something is drawn. Raises as `text_of_pdf`, but for one of pictures only.
    """
    pdf = _opened(raw)
    num_pages = len(pdf)
    pages: list[_PageRead] = []
    unread: list[int] = []
    num_chars = num_picture_bytes = 0
    for number in range(1, num_pages + 1):
        page = _page(pdf, number - 1, mode)
        num_chars += sum(len(word.text) for word in page.words)
        if num_chars > max_bytes:  # a character takes at least a byte
            raise DocumentTooLarge(
                f"the PDF's first {number} pages hold over {max_bytes} characters; split it, "
                "or raise GLYPH_MAX_DOCUMENT_BYTES on producers and workers"
            )
        if page.picture:
            num_picture_bytes += len(page.picture)
            check_bytes(num_picture_bytes, number, max_picture_bytes)
        pages.append(page)
        if not page.words and page.is_drawn:
            unread.append(number)
    blocks = [blocks_of(page.words) for page in pages]
    texts = join_pages(blocks)
    return "".join(texts), list(_sheets(pages, blocks, texts, always=mode == "image")), unread


def _sheets(
    pages: Sequence[_PageRead],
    blocks: Sequence[Sequence[Block]],
    texts: Sequence[str],
    *,
    always: bool,
) -> Iterator[Sheet]:
    start = 0
    rows = zip(pages, blocks, texts, strict=True)
    for number, (page, laid, text) in enumerate(rows, start=1):
        sheet = Sheet(
            number=number,
            width=round(page.frame.width, 2),
            height=round(page.frame.height, 2),
            start=start,
            end=start + len(text),
            picture=page.picture,
            always=always,
        )
        if start < MAX_PLACED_CHARS:
            sheet = sheet.place_words(placed(text, laid, page.frame, start=start))
        yield sheet
        start += len(text)


def only_pictures(num_pages: int, unread: list[int]) -> UnreadableDocument:
    return UnreadableDocument(
        f"the PDF's {num_pages} pages hold no text, only pictures (a scan?); "
        "run OCR over it first, e.g. ocrmypdf IN OUT",
        pages=unread,
    )


def notes_of(num_pages: int, unread: list[int]) -> list[str]:
    """What is not in the text."""
    if not unread:
        return []
    return [
        f"{len(unread)} of the PDF's {num_pages} pages hold no text, only pictures, and were not "
        f"read: {numbered(unread)}"
    ]


def _opened(raw: bytes) -> pypdfium2.PdfDocument:
    try:
        pdf = pypdfium2.PdfDocument(raw)
        num_pages = len(pdf)
    except pypdfium2.PdfiumError as exc:
        if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "password" in str(exc):
            raise UnreadableDocument(
                "the PDF asks for a password; send it without one, e.g. after "
                "qpdf --decrypt --password=… IN OUT"
            ) from exc
        raise UnreadableDocument(f"the PDF cannot be read: {exc}") from exc
    if num_pages > MAX_PAGES:
        raise UnreadableDocument(f"the PDF has {num_pages} pages, limit is {MAX_PAGES}; split it")
    if pdf.get_formtype() != pdfium.FORMTYPE_NONE:
        pdf.init_forms()
    return pdf


def _page(pdf: pypdfium2.PdfDocument, number: int, mode: SheetMode) -> _PageRead:
    """Words as the file gives them. A damaged page has none."""
    try:
        page = pdf[number]
        if pdf.formenv is not None:
            # What was filled in is drawn beside the page; this makes it a part of it.
            pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY)
            page.close()
            page = pdf[number]
        textpage = page.get_textpage()
    except pypdfium2.PdfiumError:
        blank = Frame(left=0, bottom=0, width=612, height=792)
        return _PageRead(words=[], is_drawn=True, frame=blank)
    words = list(_words(textpage.raw, page.get_rotation()))
    is_drawn = pdfium.FPDFPage_CountObjects(page.raw) > 0
    picture = b""
    if mode == "image" or (mode == "auto" and not words and is_drawn):
        from glyph_worker.intake.pictures import picture_of_page  # needs Pillow, as no text does

        picture = picture_of_page(page)
    read = _PageRead(words=words, is_drawn=is_drawn, frame=_frame(page), picture=picture)
    textpage.close()
    page.close()
    return read


def _frame(page: pypdfium2.PdfPage) -> Frame:
    """Where `_turned` puts the lower left corner of the page as it is looked at."""
    left, bottom, right, top = page.get_cropbox()
    corner = {
        0: (left, bottom),
        90: (bottom, -right),
        180: (-right, -top),
        270: (-top, left),
    }[page.get_rotation()]
    width, height = page.get_size()
    return Frame(left=corner[0], bottom=corner[1], width=max(width, 1.0), height=max(height, 1.0))


def _words(textpage: pdfium.FPDF_TEXTPAGE, rotation: int) -> Iterator[Word]:
    """Characters to words. Places in points, y upwards, as the page is looked at."""
    box = pdfium.FS_RECTF()
    box_ref, box_of = ctypes.byref(box), pdfium.FPDFText_GetLooseCharBox
    x, y = ctypes.c_double(), ctypes.c_double()
    origin = ctypes.byref(x), ctypes.byref(y)
    chars: list[str] = []
    word: list[float] = []  # left, right, baseline, size
    fixed = blank = False
    seen: tuple[float, float] | None = None
    baseline = size = 0.0
    for index, code in enumerate(_codes(textpage)):
        if (code <= 0x20 and code != 0x02) or code in _SPACES:
            blank = True
            continue
        if not box_of(textpage, index, box_ref):
            continue
        left, right, bottom, top = box.left, box.right, box.bottom, box.top
        # A box reaches from the typeface's descent to its ascent: while those stay, so do the
        # baseline and the size, and nothing else need be asked.
        if rotation or seen != (bottom, top):
            seen = bottom, top
            pdfium.FPDFText_GetCharOrigin(textpage, index, *origin)
            left, right, baseline = _turned(left, right, bottom, top, x.value, y.value, rotation)
            size = abs(pdfium.FPDFText_GetFontSize(textpage, index))
            if not 0.5 * size < abs(top - bottom) < 2.5 * size:  # scaled by the page's matrix
                size = abs(top - bottom)
        if 0xDC00 <= code < 0xE000 and chars:  # the second half of the character before
            chars.append(chr(code))
            continue
        # pdfium puts a blank where the type changes; one without any width is none.
        parts = blank and abs(left - word[1]) > _NO_BLANK * size if chars else False
        blank = False
        if chars and (parts or not _same_line(word, left, baseline, size)):
            yield _word(chars, word, fixed)
            chars = []
        if not chars:
            word = [left, right, baseline, size]
            fixed = _is_fixed(textpage, index)
        elif size < _SMALLER * word[3] and not _is_script(chars):
            raised = (baseline - word[2]) / word[3]
            if raised > _RAISED or raised < -0.05:
                chars.append("^" if raised > 0 else "_")
        chars.append("-" if code in _HYPHENS else chr(code) if code < 0x110000 else "\ufffd")
        word[0], word[1] = min(word[0], left), max(word[1], right)
    if chars:
        yield _word(chars, word, fixed)


def _codes(textpage: pdfium.FPDF_TEXTPAGE) -> Sequence[int]:
    """The code of each character of a page."""
    number = pdfium.FPDFText_CountChars(textpage)
    if number <= 0:
        return []
    units = (ctypes.c_ushort * (number + 1))()
    if pdfium.FPDFText_GetText(textpage, 0, number, units) == number + 1:
        return list(units[:number])
    # Some stand for several units, or for none: one by one, which takes longer.
    return [pdfium.FPDFText_GetUnicode(textpage, index) for index in range(number)]


def _is_script(chars: list[str]) -> bool:
    """Whether an exponent has begun: its further characters need no mark."""
    return any(char in "^_" for char in chars)


def _same_line(word: list[float], left: float, baseline: float, size: float) -> bool:
    """Whether a character goes on with a word; a file may leave out the blank between columns."""
    return abs(baseline - word[2]) <= 0.7 * max(size, word[3]) and (
        -3 * word[3] < left - word[1] < max(size, word[3])
    )


def _turned(
    left: float, right: float, bottom: float, top: float, x: float, y: float, rotation: int
) -> tuple[float, float, float]:
    """(left, right, baseline) after the page's own rotation, clockwise in degrees."""
    if rotation == 90:
        return bottom, top, -x
    if rotation == 180:
        return -right, -left, -y
    if rotation == 270:
        return -top, -bottom, x
    return left, right, y


def _is_fixed(textpage: pdfium.FPDF_TEXTPAGE, index: int) -> bool:
    """Whether a character's typeface is one of a typewriter: its flag, or its name, says so."""
    flags, name = ctypes.c_int(), ctypes.create_string_buffer(64)
    length = pdfium.FPDFText_GetFontInfo(textpage, index, name, 64, ctypes.byref(flags))
    return bool(flags.value & _FIXED_PITCH) or (
        0 < length <= 64 and bool(_TYPEWRITERS.search(name.value))
    )


def _word(chars: list[str], at: list[float], fixed: bool) -> Word:
    text = "".join(chars).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if any("\ufb00" <= char <= "\ufb06" for char in text):  # ligatures: fi, fl, ffi …
        text = "".join(
            unicodedata.normalize("NFKC", char) if "\ufb00" <= char <= "\ufb06" else char
            for char in text
        )
    return Word(
        text=text.translate(_UNSEEN), left=at[0], right=at[1], baseline=at[2], size=at[3],
        is_fixed=fixed,
    )  # fmt: skip
