"""What people bring is told apart by its bytes, and decoded by the charset that it names."""

from __future__ import annotations

import codecs
import gzip
import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from glyph_worker.errors import (
    ConfigurationError,
    GlyphError,
    InvalidEncoding,
    UnsupportedMedia,
)
from glyph_worker.intake.charsets import CODEC_OF
from glyph_worker.intake.kinds import Kind, recognise
from glyph_worker.intake.reader import FileReader
from glyph_worker.settings import Settings

UPLOADS = Path(__file__).parents[1] / "cases" / "uploads"
READER = FileReader(Settings())


@pytest.mark.parametrize(
    ("file", "holds"),
    [
        ("config.yaml", "port: 8443"),
        ("app.log.1", "port 8443"),
        ("doc.xml", "<port>8443</port>"),
        ("m.eml", "Subject: hi\n\nport 8443"),
        ("noext_html", "port 8443"),
        ("pdfnote.txt", "%PDF-1.4 notes: port is 8443"),
        ("utf16le_bom.txt", "Name: Zoë Müller\nTotal: 12,50 €\n"),
    ],
)
def test_a_text_is_read_whatever_it_is_called(file: str, holds: str) -> None:
    assert holds in READER.read((UPLOADS / file).read_bytes(), name=file).text


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("README", "application/octet-stream"),
        ("syslog", ""),
        ("setup.py", "text/x-python"),
        ("values.yaml", "application/x-yaml"),
        ("sales.csv", "application/vnd.ms-excel"),
        ("sales.csv", "application/csv"),
        ("page.ts", "video/mp2t"),
        ("notes.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("note.pdf", "application/pdf"),
        ("", "image/png"),
    ],
)
def test_what_decodes_as_text_is_text_whatever_its_name_or_type(
    name: str, content_type: str
) -> None:
    raw = "Größe;Preis\nM;3,50 €\n".encode()
    found = recognise(raw, name=name, content_type=content_type)
    assert (found.kind, found.text) == (Kind.TEXT, raw.decode())


def test_markup_is_a_page_by_name_by_type_or_by_its_beginning() -> None:
    page = b"<!DOCTYPE html><html><body>x</body></html>"
    for name, media in (("a.htm", ""), ("", "text/html; charset=utf-8"), ("a", ""), ("", "")):
        assert recognise(page, name=name, content_type=media).kind is Kind.HTML
    for name, media in (("a.txt", ""), ("a.py", ""), ("", "text/plain"), ("a.xml", "")):
        assert recognise(page, name=name, content_type=media).kind is Kind.TEXT
    assert recognise(b"<p>a fragment", name="a").kind is Kind.TEXT


def test_a_pdf_is_known_by_its_bytes_and_a_text_about_one_is_text() -> None:
    pdf = (UPLOADS / "table.pdf").read_bytes()
    assert recognise(pdf, name="a.txt", content_type="text/plain").kind is Kind.PDF
    assert recognise(b"\r\n\r\n" + pdf).kind is Kind.PDF
    assert recognise(pdf[: len(pdf) // 2]).kind is Kind.PDF  # cut off
    assert recognise(b"%PDF-1.7 nothing more", name="a.pdf").kind is Kind.PDF
    assert recognise(b"%PDF-1.7 is the version of ISO 32000-1\n").kind is Kind.TEXT
    told = b"A PDF begins so:\n%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n%%EOF\n"
    assert recognise(told, name="howto.md").kind is Kind.TEXT


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(
                zipfile.ZipInfo(name), "application/epub+zip" if name == "mimetype" else "x" * 9_000
            )
    return out.getvalue()


@pytest.mark.parametrize(
    ("raw", "what", "way"),
    [
        (zipped("[Content_Types].xml", "word/document.xml"), "docx", "save it as PDF"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "xlsx", "as CSV"),
        (zipped("[Content_Types].xml", "ppt/presentation.xml"), "pptx", "save it as PDF"),
        (zipped("mimetype", "content.opf"), "epub", "unpack"),
        (zipped("a.txt"), "ZIP archive", "unpack"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Office", "save it as PDF"),
        (b"GIF89a" + bytes(9), "GIF", "save it as PNG"),
        (gzip.compress(b"text", mtime=0), "gzip", "gunzip"),
        (b"\x7fELF\x02\x01" + bytes(60), "ELF", "send text"),
        (b"SQLite format 3\0" + bytes(60), "SQLite", "CSV"),
        (b"\0\1\2\3" * 9, "unknown kind", "NUL byte at offset 0 of 36"),
        ("port 8443\n".encode("utf-16-le"), "UTF-16LE without", "charset=UTF-16LE"),
    ],
)
def test_what_is_neither_is_called_by_its_name_with_a_way_out(
    raw: bytes, what: str, way: str
) -> None:
    with pytest.raises(UnsupportedMedia) as raised:
        recognise(raw, name="a.txt", content_type="text/plain")
    assert what in str(raised.value)
    assert way in str(raised.value)


def test_a_byte_order_mark_decides_before_what_the_sender_says() -> None:
    text = "Zoë – 12,50 €\n"
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ):
        raw = mark + text.encode(codec)
        assert READER.read(raw, content_type="text/plain; charset=latin-1").text == text


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("latin-1", "Größe"),
        ("ISO-8859-1", "12 € – “quoted”"),  # means Windows' bytes, as browsers have it
        ('"windows-1251"', "Итого 12"),
        ("Shift_JIS", "合計 12"),
        ("gb2312", "总额 12"),
        ("utf-16le", "Zoë"),
    ],
)
def test_a_charset_that_is_named_is_used(charset: str, text: str) -> None:
    codec = CODEC_OF[charset.strip('"').lower()]
    found = READER.read(text.encode(codec), content_type=f"text/plain; charset={charset}")
    assert found.text == text


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "zip", "rot13", "x" * 500])
@pytest.mark.parametrize("media", ["text/plain", "text/html", "application/pdf"])
def test_a_charset_off_the_list_is_refused_before_anything_is_decoded(
    charset: str, media: str
) -> None:
    raw = b"x-" * 75_000  # 9 s with Python's punycode
    began = time.process_time()
    with pytest.raises(InvalidEncoding, match="is not read here; send UTF-8"):
        recognise(raw, content_type=f"{media}; charset={charset}")
    assert time.process_time() - began < 1


def test_a_wrong_charset_is_an_error_with_the_byte_and_a_way_out() -> None:
    latin = "Größe".encode("latin-1")
    with pytest.raises(InvalidEncoding, match=r"not UTF-8: byte 0xf6 at offset 2 of 5.*iconv"):
        READER.read(latin, name="a.csv")
    with pytest.raises(InvalidEncoding, match="not utf-8: byte 0xf6"):
        READER.read(latin, content_type="text/plain; charset=utf-8")


def test_xml_is_decoded_as_it_declares_itself() -> None:
    raw = '<?xml version="1.0" encoding="ISO-8859-1"?><a>Größe</a>'.encode("latin-1")
    assert "Größe" in READER.read(raw, name="a.xml").text


def test_every_charset_on_the_list_is_linear() -> None:
    """The time for a hundred times the bytes is no more than a thousand times as long."""

    def seconds(raw: bytes, codec: str) -> float:
        began = time.process_time()
        raw.decode(codec, "replace")
        return time.process_time() - began

    for codec in sorted(set(CODEC_OF.values())):
        assert seconds(b"ab-\xe4" * 250_000, codec) < 2, codec


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe\0", b"PK\x03\x04", b"\0"])
def test_a_file_without_text_is_one_of_our_errors(raw: bytes) -> None:
    for name in ("a.pdf", "a.html"):
        with pytest.raises(GlyphError):
            READER.read(raw, name=name)


def test_a_missing_extra_is_named_and_text_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glyph_worker.intake.reader.find_spec", lambda name: None)
    assert READER.read(b"port 8443", name="a.log.1").text == "port 8443"
    for name, raw in (("a.html", b"<p>x"), ("a.pdf", (UPLOADS / "table.pdf").read_bytes())):
        with pytest.raises(ConfigurationError, match=r"pip install 'glyph_worker\[intake\]'"):
            READER.read(raw, name=name)


def test_reading_text_loads_no_parser_and_no_torch() -> None:
    code = (
        "import sys; from glyph_worker.intake.reader import FileReader;"
        "from glyph_worker.settings import Settings; FileReader(Settings()).read(b'a');"
        "print(sorted({'torch', 'celery', 'selectolax', 'pypdfium2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
