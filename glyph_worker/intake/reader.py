"""A file to a Document: text here, HTML, PDF and pictures in a child bounded in time and memory."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from glyph_worker.checked_text import shown
from glyph_worker.document import Document, SheetMode
from glyph_worker.errors import (
    ConfigurationError,
    DocumentTooLarge,
    InvalidEncoding,
    InvalidOption,
    RequestError,
    UnreadableDocument,
)
from glyph_worker.intake.child import WRONG, unpacked
from glyph_worker.intake.children import run_child
from glyph_worker.intake.kinds import Kind, Recognised, recognise
from glyph_worker.intake.text_layer import can_read, with_ocr
from glyph_worker.setting_sections import IntakeSettings
from glyph_worker.settings import Settings

_LIBRARY = {Kind.HTML: "selectolax", Kind.PDF: "pypdfium2", Kind.PICTURE: "PIL"}
_WORDS = {Kind.HTML: "page", Kind.PDF: "PDF", Kind.PICTURE: "picture"}
_KINDS = {kind.code: kind for kind in (InvalidEncoding, UnreadableDocument, DocumentTooLarge)}


class FileReader:
    """Stateless and thread-safe; `read` blocks, for a PDF up to the wall limit."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.intake
        self._max_bytes = settings.limits.max_document_bytes
        self._max_picture_bytes = settings.limits.max_picture_bytes

    def read(
        self, raw: bytes, *, name: str = "", content_type: str = "", pdf: SheetMode = "auto"
    ) -> Document:
        """`pdf` says how pages of a PDF, or pictures of pages, are read; other files have none.

        Raises UnsupportedMedia, InvalidEncoding, UnreadableDocument, EmptyDocument,
        DocumentTooLarge, and ConfigurationError where the extra `intake` is not installed."""
        found = recognise(raw, name=name, content_type=content_type)
        return self.read_recognised(raw, found, pdf=pdf)

    def read_recognised(
        self, raw: bytes, found: Recognised, *, pdf: SheetMode = "auto"
    ) -> Document:
        """The second half of `read`: quick for a text, a child's time for the others."""
        if found.kind is Kind.TEXT:
            return Document.of(found.text, max_bytes=self._max_bytes)
        wanted = "auto" if pdf == "text" and can_read() else pdf
        reply = self._in_child(raw, found, wanted)
        if found.kind is Kind.HTML:
            document = Document.of(reply["text"], max_bytes=self._max_bytes)
            return document.with_notes(reply["notes"])
        sheets = [unpacked(sheet) for sheet in reply["sheets"]]
        is_pdf = found.kind is Kind.PDF
        if pdf == "image":
            sheets = [replace(sheet, always=True) for sheet in sheets]
        text, sheets, notes = with_ocr(reply["text"], sheets, self._limits, is_pdf=is_pdf, mode=pdf)
        document = Document.of_sheets(
            text, sheets, max_bytes=self._max_bytes, max_picture_bytes=self._max_picture_bytes
        )
        return document.with_notes(notes)

    def _in_child(self, raw: bytes, found: Recognised, mode: SheetMode) -> dict[str, Any]:
        library, word, limits = _LIBRARY[found.kind], _WORDS[found.kind], self._limits
        if find_spec(library) is None:
            raise ConfigurationError(
                f"a {word} cannot be read without {library}; pip install 'glyph_worker[intake]'"
            )
        words = (found.kind, found.charset, int(limits.cpu_s), limits.memory_bytes,
                 self._max_bytes, mode, self._max_picture_bytes)  # fmt: skip
        try:
            code, reply = run_child(words, raw, timeout_s=limits.wall_s)
        except subprocess.TimeoutExpired:
            raise UnreadableDocument(
                f"reading the {word} takes over {limits.wall_s:g} s; send its text, or split it"
            ) from None
        return _outcome(code, reply, word=word, limits=limits)


def sheet_mode(name: str) -> SheetMode:
    """Raises InvalidOption."""
    for mode in get_args(SheetMode):
        if name == mode:
            return mode  # type: ignore[no-any-return]
    raise InvalidOption(
        f"pdf is {shown(name)}, must be {' or '.join(map(repr, get_args(SheetMode)))}", option="pdf"
    )


def read_path(path: Path, settings: Settings, *, pdf: SheetMode = "auto") -> Document:
    """A file by its name; `-` is standard input. `pdf` as FileReader.read has it.

    Raises InvalidOption for one that cannot be opened, and what FileReader.read raises.
    """
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a NUL in its name
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise InvalidOption(f"{path} cannot be read: {reason}") from exc
    name = "" if str(path) == "-" else path.name
    return FileReader(settings).read(raw, name=name, pdf=pdf)


def _outcome(code: int, reply: bytes, *, word: str, limits: IntakeSettings) -> dict[str, Any]:
    if code == -signal.SIGXCPU:
        raise UnreadableDocument(
            f"reading the {word} takes over {limits.cpu_s:g} s of CPU time; "
            "send its text, split it, or raise GLYPH_INTAKE_CPU_S"
        )
    fields: dict[str, Any] = {}
    if code in (0, WRONG):
        with contextlib.suppress(ValueError):
            fields = json.loads(reply)
    if code == 0 and "text" in fields:
        return fields
    if code == WRONG and "code" in fields:
        kind: type[RequestError] = _KINDS.get(fields["code"], UnreadableDocument)
        raise kind(fields["message"], **fields["details"])
    raise UnreadableDocument(
        f"the {word} cannot be read in {limits.memory_bytes >> 20} MB of memory, or is damaged; "
        "send its text, or split it"
    )
