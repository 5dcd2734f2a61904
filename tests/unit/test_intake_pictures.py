"""Pages people already have: pictures and PDFs' pages become sheets, bounded, with their words'
places; OCR gives text to those without, or a note says why not."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from bench.made_pdfs import pdf_of, prose
from PIL import Image, ImageDraw, ImageFont
from pypdf import PdfWriter
from reportlab.lib.pagesizes import A4

from glyph_worker.document import Document, joined
from glyph_worker.errors import DocumentTooLarge, EmptyDocument, UnreadableDocument
from glyph_worker.intake import text_layer
from glyph_worker.intake.pdf import sheets_of_pdf
from glyph_worker.intake.pictures import MAX_SIDE, sheets_of_pictures
from glyph_worker.intake.reader import FileReader
from glyph_worker.settings import Settings

UPLOADS = Path(__file__).parents[1] / "cases" / "uploads"
FONT = Path(__file__).parents[2] / "glyph_worker/render/fonts/DejaVuSans.ttf"


def picture(text: str = "port 8443", size: tuple[int, int] = (400, 200)) -> Image.Image:
    made = Image.new("L", size, 255)
    ImageDraw.Draw(made).text((20, 40), text, font=ImageFont.truetype(FONT, 32), fill=0)
    return made


def saved(made: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    made.save(out, kind, **more)
    return out.getvalue()


def reader(**limits: Any) -> FileReader:
    environ = {f"GLYPH_{name.upper()}": str(value) for name, value in limits.items()}
    return FileReader(Settings.load(environ=environ))


@pytest.fixture
def no_ocr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_layer, "can_read", lambda: False)
    monkeypatch.setattr("glyph_worker.intake.reader.can_read", lambda: False)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_picture_is_a_page_without_text(no_ocr: None, kind: str) -> None:
    document = reader().read(saved(picture(), kind))
    (sheet,) = document.sheets
    assert (document.text, sheet.number, sheet.width, sheet.height) == ("", 1, 400, 200)
    assert not sheet.always
    assert "OCR is not installed here (pip install 'glyph_worker[ocr]')" in document.notes[0]
    with pytest.raises(UnreadableDocument, match="no text that could be read on its 1 pages"):
        reader().read(saved(picture(), kind), pdf="text")


def test_a_tiff_has_many_pages_and_is_upright_on_white_and_gray() -> None:
    clear = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    deep = Image.new("I;16", (40, 20), 65_535)
    turned = Image.new("L", (40, 20), 0)
    pages = saved(clear, "TIFF", save_all=True, append_images=[deep])
    sheets = sheets_of_pictures(pages, max_bytes=10**6)
    assert [sheet.number for sheet in sheets] == [1, 2]
    for sheet in sheets:
        with Image.open(io.BytesIO(sheet.picture)) as shown:
            assert (shown.mode, shown.getpixel((3, 3))) == ("L", 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    (sheet,) = sheets_of_pictures(saved(turned, "JPEG", exif=exif), max_bytes=10**6)
    assert (sheet.width, sheet.height) == (20, 40)


def test_a_large_page_is_made_smaller_and_its_pixels_stay_where_it_is_not() -> None:
    (large,) = sheets_of_pictures(saved(picture(size=(3_000, 4_000))), max_bytes=10**7)
    assert max(large.width, large.height) == MAX_SIDE
    own = picture()
    (same,) = sheets_of_pictures(saved(own), max_bytes=10**7)
    with Image.open(io.BytesIO(same.picture)) as shown:
        assert shown.tobytes() == own.tobytes()


def test_colour_is_kept_where_there_is_some_and_gray_stays_gray() -> None:
    own = picture().convert("RGB")
    red = own.copy()
    ImageDraw.Draw(red).rectangle((300, 150, 340, 160), fill=(200, 20, 20))
    tinted = Image.new("RGB", own.size, (250, 240, 215))
    for made, mode in ((own, "L"), (red, "RGB"), (tinted, "L"), (red.convert("P"), "RGB")):
        (sheet,) = sheets_of_pictures(saved(made), max_bytes=10**6)
        with Image.open(io.BytesIO(sheet.picture)) as shown:
            assert shown.mode == mode
    (plain,) = sheets_of_pictures(saved(picture()), max_bytes=10**6)
    (same,) = sheets_of_pictures(saved(own), max_bytes=10**6)
    assert same.picture == plain.picture


def test_a_pdfs_page_keeps_its_colour_as_a_picture_and_gray_ones_are_as_they_were() -> None:
    def stamp(canvas: Any) -> None:
        canvas.setFillColorRGB(0.9, 0.1, 0.1)
        canvas.rect(100, 500, 120, 40, fill=1, stroke=0)

    raw = pdf_of(stamp, prose("port 8443"))
    red, gray = reader().read(raw, pdf="image").sheets
    with Image.open(io.BytesIO(red.picture)) as shown:
        assert shown.mode == "RGB"
        assert shown.getpixel((330, 1754 - 1080)) == (230, 26, 26)
    with Image.open(io.BytesIO(gray.picture)) as shown:
        assert shown.mode == "L"


def huge_png(width: int, height: int) -> bytes:
    """A header that promises, and next to nothing behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + crc

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10)))
        + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (huge_png(30_000, 30_000), "30000 x 30000 pixels, limit is 50,000,000 in all"),
        (huge_png(60_000, 100), "a stripe and no page"),
        (huge_png(100, 100), "the picture cannot be read"),
        (b"\x89PNG\r\n\x1a\n no picture at all", "the picture cannot be read"),
        (b"\xff\xd8\xff no picture", "the picture cannot be read"),
        (b"II*\x00 no picture", "the picture cannot be read"),
    ],
)
def test_a_picture_that_is_none_or_too_large_is_refused_with_the_reason(
    raw: bytes, words: str
) -> None:
    with pytest.raises(UnreadableDocument, match=words):
        reader().read(raw)


def test_the_bytes_of_pictures_have_a_limit() -> None:
    with pytest.raises(DocumentTooLarge, match=r"pages have .* bytes as pictures, limit is 100"):
        sheets_of_pictures(saved(picture()), max_bytes=100)
    sheets = sheets_of_pictures(saved(picture()), max_bytes=10**6)
    with pytest.raises(DocumentTooLarge, match=r"pictures have .* bytes, limit is 100"):
        Document.of_sheets("", sheets, max_bytes=100, max_picture_bytes=100)


def test_places_of_a_pdfs_words_are_on_its_page(no_ocr: None) -> None:
    raw = pdf_of(prose("The port is 8443 today.", left=72, top=780), prose("Second page."))
    document = reader().read(raw)
    first, second = document.sheets
    assert document.text[second.start : second.end] == "Second page.\n"
    places = {document.text[at.start : at.end]: at for at in first.word_places()}
    assert list(places) == ["The", "port", "is", "8443", "today."]
    port = places["8443"]
    assert first.height == pytest.approx(841.89, abs=0.1)
    assert 72 < port.left * first.width < port.right * first.width < 200
    assert 842 - 780 < port.top * first.height < port.bottom * first.height < 842 - 760
    assert not document.notes


@pytest.mark.parametrize(
    ("turn", "at"),
    [
        (90, lambda wide, tall: (100, 50)),
        (180, lambda wide, tall: (wide - 50, 100)),
        (270, lambda wide, tall: (tall - 100, wide - 50)),
    ],
)
def test_places_follow_a_page_that_is_turned(
    turn: int, at: Callable[[float, float], tuple[float, float]]
) -> None:
    """50 points from the left and 100 from the top, as the page is looked at."""
    wide, tall = A4

    def draw(canvas: Any) -> None:
        canvas.setPageRotation(turn)
        canvas.translate(*at(wide, tall))
        canvas.rotate(turn)
        canvas.setFont("Helvetica", 12)
        canvas.drawString(0, 0, "port 8443")

    text, (sheet,), _ = sheets_of_pdf(pdf_of(draw), max_bytes=100, mode="text")
    assert text == "port 8443\n"
    # reportlab lays the page so that it is upright when it is looked at.
    assert sheet.width == pytest.approx(wide, abs=0.1)
    port, number = sheet.word_places()
    assert port.left * sheet.width == pytest.approx(50, abs=1)
    assert port.right < number.left
    assert port.top * sheet.height < 100 < port.bottom * sheet.height
    assert (port.bottom - port.top) * sheet.height == pytest.approx(12, abs=1)


def test_pages_of_a_pdf_are_pictures_where_that_is_asked_for() -> None:
    raw = pdf_of(prose("port 8443"))
    document = reader().read(raw, pdf="image")
    (sheet,) = document.sheets
    assert document.text == "port 8443\n", "its text still gives citations"
    assert sheet.always
    assert len(list(sheet.word_places())) == 2
    with Image.open(io.BytesIO(sheet.picture)) as shown:
        assert shown.size == (1241, 1754)
    plain = reader().read(raw)
    assert plain.sheets[0].picture == b""
    assert plain.digest != document.digest


def test_a_scanned_page_is_a_picture_in_its_place(no_ocr: None) -> None:
    document = reader().read((UPLOADS / "mixed_scan.pdf").read_bytes())
    first, second = document.sheets
    assert (first.picture, second.start, second.end) == (
        b"",
        len(document.text),
        len(document.text),
    )
    assert second.picture
    assert "1 of the PDF's 2 pages hold no text" in document.notes[0]
    assert document.notes[0].endswith("page 2")


def test_a_pdf_of_ten_thousand_pages_is_refused_with_the_numbers() -> None:
    writer, out = PdfWriter(), io.BytesIO()
    for _ in range(10_000):
        writer.add_blank_page(100, 100)
    writer.write(out)
    with pytest.raises(UnreadableDocument, match="10000 pages, limit is 5000; split it"):
        sheets_of_pdf(out.getvalue(), max_bytes=100, mode="auto")


def test_ocr_that_hangs_is_ended_and_the_page_stays_a_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(text_layer, "can_read", lambda: True)
    hanging = tmp_path / "child.py"
    hanging.write_text(
        "import json, sys, time\n"
        "words = [{'text': 'seen', 'left': 1, 'right': 9, 'baseline': 9, 'size': 8}]\n"
        "print(json.dumps([1, 20, 20, words]), flush=True)\n"
        "time.sleep(1e9)\n"
    )
    monkeypatch.setattr("glyph_worker.intake.children.child.__file__", str(hanging))
    raw = saved(picture(), "TIFF", save_all=True, append_images=[picture()])
    sheets = sheets_of_pictures(raw, max_bytes=10**6)
    limits = Settings.load(environ={"GLYPH_INTAKE_OCR_S": "3"}).intake
    text, read, notes = text_layer.with_ocr("", sheets, limits, is_pdf=False, mode="auto")
    assert text == "seen\n", "what was read before is kept"
    assert [sheet.by_ocr for sheet in read] == [True, False]
    assert all(sheet.picture for sheet in read)
    assert "were read by OCR, which misreads: page 1" in notes[0]
    assert "OCR took over 3 s" in notes[1]
    assert notes[1].endswith("page 2")


@pytest.mark.skipif(find_spec("rapidocr") is None, reason="the extra ocr is not installed")
def test_ocr_reads_a_picture_and_says_so() -> None:
    document = reader().read(saved(picture("Order: AX-2291", size=(600, 200))), pdf="text")
    assert document.text.strip() == "Order: AX-2291"
    (sheet,) = document.sheets
    assert (sheet.by_ocr, sheet.picture) == (True, b"")
    places = {document.text[at.start : at.end]: at for at in sheet.word_places()}
    assert set(places) == {"Order:", "AX-2291"}
    assert places["Order:"].right <= places["AX-2291"].left + 0.02
    assert document.notes == (
        "1 of the picture's 1 pages were read by OCR, which misreads: page 1",
    )


def test_pictures_sent_apart_are_pages_of_one_document(no_ocr: None) -> None:
    bounds = {"max_bytes": 10**4, "max_picture_bytes": 10**6}
    pages = [reader().read(saved(picture(text))) for text in ("one", "two")]
    pdf = reader().read(pdf_of(prose("port 8443")))
    document = joined([pages[0], pdf, pages[1]], **bounds)
    assert [sheet.number for sheet in document.sheets] == [1, 2, 3]
    assert document.text == "port 8443\n"
    assert [(sheet.start, sheet.end) for sheet in document.sheets] == [(0, 0), (0, 10), (10, 10)]
    places = list(document.sheets[1].word_places())
    assert [document.text[at.start : at.end] for at in places] == ["port", "8443"]
    assert len(document.notes) == 1, "the same note once"


def test_a_document_of_sheets_is_named_by_all_that_is_on_them() -> None:
    (sheet,) = sheets_of_pictures(saved(picture()), max_bytes=10**6)
    (other,) = sheets_of_pictures(saved(picture("port 8444")), max_bytes=10**6)

    def named(*sheets: Any, text: str = "") -> str:
        return Document.of_sheets(text, sheets, max_bytes=100, max_picture_bytes=10**6).digest

    assert len({named(sheet), named(other), named(sheet, other), named(sheet, text="a")}) == 4
    with pytest.raises(EmptyDocument):
        Document.of_sheets("", [], max_bytes=100, max_picture_bytes=100)
