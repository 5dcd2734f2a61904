"""What is asked about: Document, Sheet, Page, PageSpan; the only recipe for digests. No I/O."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from glyph_worker.errors import DocumentTooLarge, EmptyDocument, InvalidEncoding, InvalidOption

Part = str | bytes | int

PART_END = "\x1c"
"""Information separator four, which ASCII has for the end of a file: what follows it in a document
begins on a new page and is laid out as if it stood alone."""

MAX_DOCUMENTS = 100
"""Of one job."""
MAX_NAME_CHARS = 200


def digest(kind: str, *parts: Part) -> str:
    """SHA-256, as hex, over a domain name and length-prefixed typed parts.

    The length prefix and the type letter make it injective: ("ab", "c") and ("a", "bc"), or
    1 and "1", can never name the same bytes. `kind` keeps digests of different things apart.
    """
    sha = hashlib.sha256()
    for part in (kind, *parts):
        if isinstance(part, str):
            letter, raw = b"s", part.encode("utf-8", "surrogatepass")
        elif isinstance(part, int):
            letter, raw = b"i", str(part).encode()
        else:
            letter, raw = b"b", part
        sha.update(letter + len(raw).to_bytes(8, "big"))
        sha.update(raw)
    return sha.hexdigest()


SheetMode = Literal["text", "image", "auto"]
"""How pages that people bring are read: as text, as pictures, or as pictures where they have no
text of their own."""


class WordPlace(NamedTuple):
    """Where characters of the document stand on a sheet, in shares of its width and height."""

    start: int
    end: int
    left: float
    top: float
    right: float
    bottom: float


_PLACE = struct.Struct("<IHHHHH")
_WHOLE = 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A page of the PDF, or a picture, that a document was brought as."""

    number: int
    """From 1, as in the file."""
    width: float
    height: float
    """PDF points, or pixels of the picture."""
    start: int
    end: int
    """Half-open range of characters of the document's text that were read off it."""
    places: bytes = b""
    """Of its words, packed (`place_words`)."""
    picture: bytes = b""
    """PNG or JPEG; b'' where its text is drawn in its place."""
    always: bool = False
    """Shown as a picture also to a checkpoint that was taught our own pages alone."""
    by_ocr: bool = False
    """Its text was read by OCR."""

    def place_words(self, places: Iterable[WordPlace]) -> Sheet:
        """The same with its words' places; a word of more than 65,535 characters has none."""
        packed = bytearray()
        for place in places:
            at = [round(min(1.0, max(0.0, share)) * _WHOLE) for share in place[2:]]
            if place.start - self.start >= 0 and place.end - place.start <= _WHOLE:
                packed += _PLACE.pack(place.start - self.start, place.end - place.start, *at)
        return replace(self, places=bytes(packed))

    def word_places(self) -> Iterator[WordPlace]:
        """In the order of the text."""
        for start, length, *at in _PLACE.iter_unpack(self.places):
            begin = self.start + start
            yield WordPlace(begin, begin + length, *(share / _WHOLE for share in at))


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """The submitted text, immutable, named by its digest."""

    text: str
    digest: str
    notes: tuple[str, ...] = ()
    """What of the file it came from is not in the text, e.g. scanned pages. Not in the digest."""
    sheets: tuple[Sheet, ...] = ()
    """The pages that it was brought as, in order; () where it is text, or a web page."""

    names: tuple[str, ...] = ()
    """Of several documents in one, in their order, PART_END between each two. Not in the digest."""

    def with_notes(self, notes: Iterable[str]) -> Document:
        return replace(self, notes=tuple(notes))

    @classmethod
    def of_sheets(
        cls, text: str, sheets: Sequence[Sheet], *, max_bytes: int, max_picture_bytes: int
    ) -> Document:
        """Raises EmptyDocument where there is neither text nor a picture, InvalidEncoding,
        DocumentTooLarge."""
        num_bytes = sum(len(sheet.picture) for sheet in sheets)
        if num_bytes > max_picture_bytes:
            raise DocumentTooLarge(
                f"the document's pictures have {num_bytes} bytes, limit is {max_picture_bytes}; "
                "send fewer or smaller pages",
                num_bytes=num_bytes,
                max_bytes=max_picture_bytes,
            )
        if not num_bytes:
            text = cls.of(text, max_bytes=max_bytes).text
        raw = text.encode()
        if len(raw) > max_bytes:
            raise _too_large(len(raw), max_bytes)
        named = document_digest(raw, sheets)
        return cls(text=text, digest=named, sheets=tuple(sheets))

    @classmethod
    def of(cls, source: Source | Sources, *, max_bytes: int) -> Document:
        """Check and name a document, or several as one. `bytes` must be UTF-8 (a byte-order mark is
        dropped).

        A Document keeps its notes, sheets and names; of several the text alone is read. Raises
        InvalidOption for what is none of these, InvalidEncoding, EmptyDocument, DocumentTooLarge.
        """
        if isinstance(source, Document):
            if source.sheets:
                return source
            made = cls.of(source.text, max_bytes=max_bytes)
            return replace(made, notes=source.notes, names=source.names)
        if isinstance(source, (list, tuple, Mapping)):
            return cls._joined(source, max_bytes=max_bytes)
        if not isinstance(source, (str, bytes)):
            raise InvalidOption(
                f"document is of type {type(source).__name__}, must be str or UTF-8 bytes, "
                "or a list or dict of such",
                option="document",
            )
        if len(source) > max_bytes:  # every character takes at least one byte
            raise _too_large(len(source), max_bytes)
        if isinstance(source, bytes):
            try:
                text = source.decode("utf-8-sig")
            except UnicodeDecodeError as exc:
                raise InvalidEncoding(
                    f"document is not UTF-8: byte 0x{source[exc.start]:02x} at offset {exc.start} "
                    f"of {len(source)}; decode it first, e.g. raw.decode('latin-1')",
                    offset=exc.start,
                    num_bytes=len(source),
                ) from exc
        else:
            text = _without_surrogates(source)
        raw = text.encode()
        if len(raw) > max_bytes:
            raise _too_large(len(raw), max_bytes)
        if not any(char.isprintable() and not char.isspace() for char in text):
            raise EmptyDocument(
                f"document has no readable character among its {len(text)}; send text",
                num_chars=len(text),
            )
        return cls(text=text, digest=document_digest(raw, ()))

    @classmethod
    def _joined(cls, sources: Sources, *, max_bytes: int) -> Document:
        """Several documents as one; together they have at most `max_bytes`."""
        rows = list(sources.items() if isinstance(sources, Mapping) else sources)
        if not 0 < len(rows) <= MAX_DOCUMENTS:
            raise InvalidOption(
                f"{len(rows)} documents in one job, must be 1 to {MAX_DOCUMENTS}; ask about the "
                "others in further jobs",
                option="document",
                limit=MAX_DOCUMENTS,
            )
        texts: list[str] = []
        names: list[str] = []
        notes: list[str] = []
        for number, row in enumerate(rows, start=1):
            name, source = row if isinstance(row, tuple) and len(row) == 2 else ("", row)
            name = _checked_name(name or f"document {number}", names)
            try:
                one = cls.of(source, max_bytes=max_bytes)
            except (EmptyDocument, InvalidEncoding, DocumentTooLarge, InvalidOption) as exc:
                exc.message = f"{name!r}, {number} of {len(rows)} documents: {exc.message}"
                raise type(exc)(exc.message, **exc.details | {"document": name}) from exc
            # A mark of its own would make two documents of it.
            texts.append(one.text.replace(PART_END, " "))
            names.append(name)
            notes += [f"{name}: {note}" for note in one.notes]
            if pictures := sum(bool(sheet.picture) for sheet in one.sheets):
                if not one.text.strip():
                    raise EmptyDocument(
                        f"{name!r}, {number} of {len(rows)} documents, is pictures without text; "
                        "ask about it in a job of its own, or install glyph_worker[ocr] here",
                        document=name,
                    )
                notes.append(f"{name}: {pictures} pages that are pictures are read by their text")
        text = PART_END.join(texts)
        if len(raw := text.encode()) > max_bytes:
            raise DocumentTooLarge(
                f"{len(rows)} documents have {len(raw)} bytes together, limit is {max_bytes}; ask "
                "about fewer at once, or raise GLYPH_MAX_DOCUMENT_BYTES on producers and workers",
                num_bytes=len(raw),
                max_bytes=max_bytes,
            )
        return cls(
            text=text,
            digest=digest("document", raw),
            notes=tuple(notes),
            names=tuple(names),
        )


def joined(documents: Sequence[Document], *, max_bytes: int, max_picture_bytes: int) -> Document:
    """Documents of sheets as one, their sheets numbered through. Raises as Document.of_sheets."""
    sheets: list[Sheet] = []
    at = 0
    for document in documents:
        for sheet in document.sheets:
            number = len(sheets) + 1
            sheets.append(replace(sheet, number=number, start=sheet.start + at, end=sheet.end + at))
        at += len(document.text)
    text = "".join(document.text for document in documents)
    notes = dict.fromkeys(note for document in documents for note in document.notes)
    return Document.of_sheets(
        text, sheets, max_bytes=max_bytes, max_picture_bytes=max_picture_bytes
    ).with_notes(notes)


def document_digest(raw: bytes, sheets: Sequence[Sheet]) -> str:
    """Names a document by its text and the sheets it was brought as, with all that is on them."""
    if not sheets:
        return digest("document", raw)
    parts: list[Part] = [raw]
    for sheet in sheets:
        parts += [sheet.number, repr((sheet.width, sheet.height)), sheet.start, sheet.end]
        parts += [sheet.places, sheet.picture, int(sheet.always), int(sheet.by_ocr)]
    return digest("document of sheets", *parts)


Source = str | bytes | Document
Sources = Sequence[Source | tuple[str, Source]] | Mapping[str, Source]
"""Several documents, with their names or without."""


def _checked_name(name: object, others: Sequence[str]) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise InvalidOption(
            f"a document's name must be 1 to {MAX_NAME_CHARS} printable characters, "
            f"is {str(name)[:40]!r}",
            option="document",
        )
    if name in others:
        raise InvalidOption(
            f"two documents are called {name!r}; citations name the document: tell them apart",
            option="document",
        )
    return name


def _without_surrogates(source: str) -> str:
    """The text with surrogate pairs joined; a lone one, which broken decoders leave, is refused."""
    try:
        source.encode()
        return source
    except UnicodeEncodeError:
        pass
    try:
        return source.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        joined = source.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        offset = next(at for at, char in enumerate(joined) if "\ud800" <= char <= "\udfff")
        raise InvalidEncoding(
            f"document has a lone surrogate, U+{ord(joined[offset]):04X}, at character {offset} of "
            f"{len(joined)}, which is no text; decode its source again, e.g. with errors='replace'",
            offset=offset,
            num_chars=len(joined),
        ) from None


def _too_large(num_bytes: int, max_bytes: int) -> DocumentTooLarge:
    return DocumentTooLarge(
        f"document has {num_bytes} bytes or more, limit is {max_bytes}; "
        "split it, or raise GLYPH_MAX_DOCUMENT_BYTES on producers and workers",
        num_bytes=num_bytes,
        max_bytes=max_bytes,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One laid-out part of a document; known before any pixel is drawn."""

    index: int
    digest: str
    """Covers style, fonts, renderer version and the page's lines: equal digest, equal pixels."""
    width: int
    height: int
    """Pixels of the page image, uint8[height, width]."""
    start: int
    end: int
    """Half-open range of characters in the document's normalised text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSpan:
    """Where a run of characters lies on a page, in pixels."""

    page: int
    start: int
    end: int
    left: float
    top: float
    right: float
    bottom: float
