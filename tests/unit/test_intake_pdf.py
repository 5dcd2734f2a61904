"""A PDF's text in reading order: rows on lines, columns apart, paragraphs joined, scans named."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from bench.made_pdfs import both, code, columns, pdf_of, pdf_with, prose, table
from pypdf import PdfWriter

from glyph_worker.errors import DocumentTooLarge, GlyphError, UnreadableDocument
from glyph_worker.intake.pdf import text_of_pdf
from glyph_worker.intake.reader import FileReader
from glyph_worker.settings import Settings

UPLOADS = Path(__file__).parents[1] / "cases" / "uploads"
TABLE = "Item | Qty | Price\nApples | 12 | 3.50\nWatermelons, seedless | 1 | 12.99\nPears |  | 0.80"
PROSE = (
    "The harbour authority decided in the spring that the old crane should be moved to the "
    "northern quay, because the southern one had begun to settle under its weight. Engineers "
    "measured the settlement every week and found that it came to four millimetres a month."
)
OTHER = (
    "Meanwhile the fishermen, who had used the southern quay for three generations, asked for "
    "compensation. Their spokeswoman said that nobody had told them about the move, and that "
    "the new place was exposed to the wind from the east during most of the winter months."
)


def text_of(raw: bytes) -> str:
    return text_of_pdf(raw, max_bytes=10_000_000)[0]


def read(name: str) -> str:
    return text_of((UPLOADS / name).read_bytes())


def reader(**limits: Any) -> FileReader:
    environ = {f"GLYPH_INTAKE_{name.upper()}": str(value) for name, value in limits.items()}
    return FileReader(Settings.load(environ=environ))


def test_a_row_is_one_line_and_its_empty_cell_is_kept() -> None:
    assert read("table.pdf").strip() == TABLE


def test_a_file_that_only_its_owner_may_change_is_read() -> None:
    assert read("enc_owner.pdf").strip() == TABLE


def test_a_file_that_asks_for_a_password_says_so() -> None:
    with pytest.raises(UnreadableDocument, match="asks for a password; send it without one"):
        read("enc_user.pdf")


@pytest.mark.parametrize("cipher", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
def test_every_cipher_is_read(cipher: str) -> None:
    writer, out = PdfWriter(), io.BytesIO()
    writer.append(io.BytesIO(pdf_of(prose("port 8443"))))
    writer.encrypt("", "owner", algorithm=cipher)
    writer.write(out)
    assert text_of(out.getvalue()) == "port 8443\n"


def test_what_was_filled_into_a_form_is_read() -> None:
    assert re.fullmatch(r"Name:\s+Ada Lovelace\n", read("form.pdf"))


def test_scanned_pages_are_named_and_a_file_of_nothing_else_is_refused() -> None:
    text, notes = text_of_pdf((UPLOADS / "mixed_scan.pdf").read_bytes(), max_bytes=10**7)
    assert text.strip() == TABLE
    assert notes == [
        "1 of the PDF's 2 pages hold no text, only pictures, and were not read: page 2"
    ]
    with pytest.raises(UnreadableDocument, match=r"1 pages hold no text, only pictures.*OCR"):
        read("scan.pdf")


def test_a_blank_page_is_no_scan() -> None:
    text, notes = text_of_pdf(pdf_of(prose("one"), lambda canvas: None), max_bytes=10**7)
    assert (text, notes) == ("one\n", [])


def test_wrapped_lines_are_joined_to_their_paragraphs() -> None:
    raw = pdf_of(both(prose(PROSE), prose(OTHER, top=700)))
    assert text_of(raw) == f"{PROSE}\n{OTHER}\n"


def test_a_word_broken_at_the_end_of_a_line_is_whole_again() -> None:
    def draw(canvas: Any) -> None:
        canvas.setFont("Times-Roman", 10)
        lines = (
            "The committee discussed the environ-",
            "mental report and a well-known state-",
            "of-the-art crane, which is state-of-the-",
            "art and not well-",
            "hidden from the public at all. It is art",
        )
        for number, line in enumerate(lines):
            canvas.drawString(72, 700 - 12 * number, line)

    text = text_of(pdf_of(draw))
    assert "environmental report" in text
    assert "state-of-the-art crane" in text


@pytest.mark.parametrize("number", [2, 3])
def test_columns_do_not_interleave(number: int) -> None:
    texts = (PROSE, OTHER, PROSE.replace("harbour", "river"))[:number]
    title = prose("A heading over all of the columns that is as wide as the page", fontSize=18)
    raw = pdf_of(both(title, columns(*texts)))
    found = text_of(raw)
    assert found.startswith("A heading over all")
    places = [found.index(text) for text in texts]
    assert places == sorted(places)


def test_a_table_between_paragraphs_keeps_its_rows() -> None:
    rows = (
        ("Harbour", "Ships", "Tons", "Remark"),
        ("North", "12", "3,400", ""),
        ("South", "", "1,250", "closed"),
        ("", "7", "", "small craft"),
    )
    raw = pdf_of(
        both(
            prose(PROSE), table(*rows, edges=(72, 200, 300, 400)), prose(OTHER, top=600)
        )
    )  # fmt: skip
    assert text_of(raw) == (
        f"{PROSE}\nHarbour | Ships | Tons | Remark\nNorth | 12 | 3,400 |\n"
        f"South |  | 1,250 | closed\n | 7 |  | small craft\n{OTHER}\n"
    )


def test_code_keeps_its_lines_and_indentation() -> None:
    source = "def f(x):\n    if x:\n        return 1\n    return 2"
    assert text_of(pdf_of(code(source))).rstrip() == source


def test_an_exponent_is_no_digit_of_its_number() -> None:
    raw = pdf_of(prose("light travels 3 x 10<super>8</super> m/s and H<sub>2</sub>O is water"))
    assert text_of(raw) == "light travels 3 x 10^8 m/s and H_2O is water\n"


def test_ligatures_are_letters_again() -> None:
    # pdfium gives what the file's own map says; these are the code points of fi, fl and ffi.
    from glyph_worker.intake.pdf import _word

    word = _word(list("e\ufb03cient \ufb01le \ufb02ow"), [0, 1, 2, 3], False)
    assert word.text == "efficient file flow"


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_reads_as_it_is_looked_at(turn: int) -> None:
    matrix = {0: b"1 0 0 1 72 700", 90: b"0 1 -1 0 100 72", 180: b"-1 0 0 -1 540 92",
              270: b"0 -1 1 0 500 700"}[turn]  # fmt: skip
    lines = b"".join(
        b"q %s cm BT /F1 12 Tf 0 %d Td (%s) Tj ET Q " % (matrix, -16 * number, line)
        for number, line in enumerate((b"first line 1", b"second line 2", b"third line 3"))
    )
    assert text_of(pdf_with(lines, rotate=turn)).split("\n") == [
        "first line 1", "second line 2", "third line 3", "",
    ]  # fmt: skip


def test_leaders_of_a_table_of_contents_are_short() -> None:
    raw = pdf_with(b"BT /F1 10 Tf 72 700 Td (1 Introduction" + b" ." * 60 + b" 7) Tj ET")
    assert text_of(raw) == "1 Introduction ... 7\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"%PDF-1.7 nothing more",
        b"%PDF-1.4\n" + bytes(range(256)) * 8,
        (UPLOADS / "table.pdf").read_bytes()[:400],
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\ntrailer << /Root 1 0 R >>",
    ],
)
def test_a_damaged_pdf_is_refused(raw: bytes) -> None:
    with pytest.raises(GlyphError) as raised:
        reader().read(raw, name="a.pdf")
    assert raised.value.code == "unreadable_document"


def test_a_pdf_that_takes_too_long_is_refused_by_cpu_time() -> None:
    slow = pdf_with(b"BT /F1 12 Tf " + b"(a) Tj 3 1 Td " * 1_000_000 + b" ET")
    assert len(slow) < 40_000
    with pytest.raises(UnreadableDocument, match="PDF takes over 1 s of CPU time"):
        reader(cpu_s=1).read(slow)


def test_a_pdf_that_unpacks_to_gigabytes_is_refused() -> None:
    with pytest.raises(GlyphError) as raised:
        reader(memory_bytes=1 << 28, cpu_s=5).read(pdf_with(b"BT " + b" " * (1 << 28)))
    assert raised.value.code == "unreadable_document"


def test_a_pdf_with_more_text_than_a_document_may_have_is_refused_while_it_is_read() -> None:
    with pytest.raises(DocumentTooLarge, match="first 1 pages hold over 100 characters"):
        text_of_pdf(pdf_of(prose(PROSE), prose(OTHER)), max_bytes=100)


def test_an_honest_pdf_gives_its_text() -> None:
    raw = pdf_with(b"BT /F1 12 Tf 72 700 Td (Mara, 417) Tj ET")
    assert reader().read(raw).text == "Mara, 417\n"
