"""What a file is: text, HTML, PDF, picture, or something else with a name. Looks at bytes first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from glyph_worker.errors import InvalidEncoding, UnsupportedMedia
from glyph_worker.intake import charsets


class Kind(StrEnum):
    TEXT = "text"
    HTML = "html"
    PDF = "pdf"
    PICTURE = "picture"
    """One or more pages, as PNG, JPEG or TIFF."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    kind: Kind
    text: str = ""
    """A TEXT's characters; '' for the others, which a child reads."""
    charset: str = ""
    """What the sender called an HTML page's charset; '' for nothing."""


_EXPORT = "save it as PDF, HTML or text and send that"
_OCR = "save it as PNG or JPEG and send that"
_UNPACK = "unpack it and send the files in it"
_MAGIC: tuple[tuple[bytes, int, str, str], ...] = (
    # bytes, their offset, what it is, what to do
    (b"GIF87a", 0, "a GIF picture", _OCR),
    (b"GIF89a", 0, "a GIF picture", _OCR),
    (b"WEBP", 8, "a WebP picture", _OCR),
    (b"ftypheic", 4, "a HEIC picture", _OCR),
    (b"ftypavif", 4, "an AVIF picture", _OCR),
    (b"\x1f\x8b", 0, "gzip data", "decompress it first: gunzip FILE"),
    (b"BZh", 0, "bzip2 data", "decompress it first: bunzip2 FILE"),
    (b"\xfd7zXZ\x00", 0, "xz data", "decompress it first: unxz FILE"),
    (b"\x28\xb5\x2f\xfd", 0, "Zstandard data", "decompress it first: unzstd FILE"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", 0, "a RAR archive", _UNPACK),
    (b"ustar", 257, "a tar archive", _UNPACK),
    (b"\x7fELF", 0, "an ELF program", "send text"),
    (b"MZ\x90", 0, "a Windows program", "send text"),
    (b"\xfe\xed\xfa", 0, "a macOS program", "send text"),
    (b"\xcf\xfa\xed\xfe", 0, "a macOS program", "send text"),
    (b"\xca\xfe\xba\xbe", 0, "a Java class or a macOS program", "send text"),
    (b"\x00asm", 0, "a WebAssembly program", "send text"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "an old Office file (doc, xls, ppt or msg)", _EXPORT),
    (b"SQLite format 3\x00", 0, "an SQLite database", "export what is asked about as CSV"),
    (b"PAR1", 0, "a Parquet file", "export it as CSV"),
    (b"\x89HDF\r\n\x1a\n", 0, "an HDF5 file", "export it as CSV"),
    (b"ftyp", 4, "a video", "send a transcript"),
    (b"ID3", 0, "an MP3 recording", "send a transcript"),
    (b"OggS", 0, "an Ogg recording", "send a transcript"),
    (b"fLaC", 0, "a FLAC recording", "send a transcript"),
    (b"WAVE", 8, "a WAV recording", "send a transcript"),
    (b"\x1aE\xdf\xa3", 0, "a Matroska or WebM video", "send a transcript"),
    (b"wOFF", 0, "a font", "send text"),
    (b"wOF2", 0, "a font", "send text"),
    (b"\x00\x01\x00\x00\x00", 0, "a font", "send text"),
    (b"OTTO", 0, "a font", "send text"),
    (b"bplist00", 0, "a binary property list", "convert it: plutil -convert xml1 FILE"),
)
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
_ZIPS = (
    (b"word/", "a Word document (docx)", _EXPORT),
    (b"xl/", "an Excel workbook (xlsx)", "save its sheets as CSV and send those"),
    (b"ppt/", "a PowerPoint presentation (pptx)", _EXPORT),
    (b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "a spreadsheet (ods)",
     "save its sheets as CSV and send those"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "an OpenDocument file (odt, odp)", _EXPORT),
    (b"mimetypeapplication/epub+zip", "an e-book (epub)", "unpack it and send its HTML files"),
    (b"META-INF/", "a Java archive", _UNPACK),
)  # fmt: skip

_PDF_OBJECT = re.compile(rb"\b\d{1,10}\s+\d{1,5}\s+obj\b")
_PDF_WITHIN = 1024
"""Bytes before a PDF's header that readers put up with."""
_PRINTABLE = frozenset(b"\t\n\r") | frozenset(range(0x20, 0x7F))
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_PAGE_SUFFIXES = (".html", ".htm", ".xhtml", ".xht")
_LOOKS_LIKE_PAGE = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!doctype\s+html\b|<html[\s>])",
    re.IGNORECASE,
)


def recognise(raw: bytes, *, name: str = "", content_type: str = "") -> Recognised:
    """What to read these bytes as. Text is whatever decodes and has no NUL, whatever its name.

    `name` and `content_type` only decide what bytes leave open: whether markup is a page or a
    source, and in which charset a text is. Raises UnsupportedMedia, which says what the file is,
    and InvalidEncoding.
    """
    media, _, _ = content_type.partition(";")
    media = media.strip().lower()
    suffix = PurePath(name).suffix.lower()
    charset = charsets.named_in(content_type)
    if charset:
        charsets.codec_named(charset)  # refused before anything is read by it
    if _is_pdf(raw, claimed=media == "application/pdf" or suffix == ".pdf", charset=charset):
        return Recognised(kind=Kind.PDF)
    if raw.startswith(_PICTURES):
        return Recognised(kind=Kind.PICTURE)
    if not charsets.mark_of(raw) and (found := _other(raw)):
        raise _refusal(*found)
    if _is_page(raw, media, suffix):
        return Recognised(kind=Kind.HTML, charset=charset)
    return Recognised(kind=Kind.TEXT, text=_text(raw, charset))


def _text(raw: bytes, charset: str) -> str:
    """Raises UnsupportedMedia for bytes with a NUL, InvalidEncoding."""
    wide = charset.lower().startswith(("utf-16", "utf16", "utf-32", "utf32"))
    if b"\0" in raw and not charsets.mark_of(raw) and not wide:
        raise _binary(raw)
    if not charset and (codec := charsets.declared_in_markup(raw)):
        try:
            return charsets.decoded(raw)
        except InvalidEncoding:
            return charsets.decoded_by(codec, raw)
    text = charsets.decoded(raw, charset)
    if "\0" in text:
        raise _refusal(
            f"binary data (a NUL at character {text.index(chr(0))} of {len(text)})", "send text"
        )
    return text


def _is_page(raw: bytes, media: str, suffix: str) -> bool:
    if media in _PAGE_TYPES or suffix in _PAGE_SUFFIXES:
        return True
    # A sender who calls it plain, or another kind of source, means the source.
    unnamed = media in ("", "application/octet-stream") and not suffix
    return unnamed and bool(_LOOKS_LIKE_PAGE.match(raw[:_PDF_WITHIN]))


def _is_pdf(raw: bytes, *, claimed: bool, charset: str) -> bool:
    at = raw[: _PDF_WITHIN + 5].find(b"%PDF-")
    if at < 0:
        return False
    if at == 0 and claimed:
        return True
    whole = bool(_PDF_OBJECT.search(raw, at)) and (b"%%EOF" in raw or b"trailer" in raw)
    if at > 0 and raw[:at].strip():
        return whole and not _is_text(raw)  # a text may tell of one
    if whole:
        return True
    # It begins with the words; a file that cannot be text means them.
    try:
        return "\0" in charsets.decoded(raw, charset)
    except InvalidEncoding:
        return True


def _other(raw: bytes) -> tuple[str, str] | None:
    """(What it is, what to do) for the kinds that have a signature."""
    if raw.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        head, tail = raw[:4096], raw[-65_536:]
        for mark, what, way in _ZIPS:
            if mark in head or mark in tail:
                return what, way
        return "a ZIP archive", _UNPACK
    for mark, at, what, way in _MAGIC:
        # Signatures of letters alone begin some texts as well ("BZh…", "ID3 …"): only bytes that
        # no text has make them one.
        if raw.startswith(mark, at) and not (mark.isalnum() and _is_text(raw)):
            return what, way
    return None


def _is_text(raw: bytes) -> bool:
    try:
        return "\0" not in raw.decode()
    except UnicodeDecodeError:
        return False


def _binary(raw: bytes) -> UnsupportedMedia:
    head = raw[:4096]
    if len(head) >= 4 and len(head) % 2 == 0:
        halves = ("UTF-16LE", head[1::2], head[::2]), ("UTF-16BE", head[::2], head[1::2])
        for codec, high, low in halves:
            printable = sum(byte in _PRINTABLE for byte in low)
            if high.count(0) > 0.4 * len(high) and printable > 0.8 * len(low):
                return _refusal(
                    f"binary data, perhaps {codec} without its byte-order mark",
                    f"save it as UTF-8, or name its charset: text/plain; charset={codec}",
                )
    return _refusal(
        f"binary data of an unknown kind (a NUL byte at offset {raw.index(0)} of {len(raw)})",
        "send text",
    )


def _refusal(what: str, way: str) -> UnsupportedMedia:
    return UnsupportedMedia(
        f"the file is {what}, which is not read here; {way} (text, HTML, PDF and "
        "pictures of pages are read)",
        found=what,
    )
