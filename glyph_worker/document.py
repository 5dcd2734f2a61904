"""What is asked about: Document, Page, PageSpan, and the only recipe for digests. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """The submitted text, immutable, named by its digest."""

    text: str
    digest: str
    notes: tuple[str, ...] = ()
    """What of the file it came from is not in the text, e.g. scanned pages. Not in the digest."""

    names: tuple[str, ...] = ()
    """Of several documents in one, in their order, PART_END between each two. Not in the digest."""

    def with_notes(self, notes: Iterable[str]) -> Document:
        return replace(self, notes=tuple(notes))

    @classmethod
    def of(cls, source: Source | Sources, *, max_bytes: int) -> Document:
        """Check and name a document, or several as one. `bytes` must be UTF-8 (a byte-order mark is
        dropped).

        A Document keeps its notes and names. Raises InvalidOption for what is none of these,
        InvalidEncoding, EmptyDocument, DocumentTooLarge.
        """
        if isinstance(source, Document):
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
        return cls(text=text, digest=digest("document", raw))

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
