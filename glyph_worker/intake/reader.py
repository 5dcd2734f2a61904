"""A file to a Document: text here, HTML and PDF in a child bounded in CPU time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from glyph_worker.document import Document
from glyph_worker.errors import (
    ConfigurationError,
    DocumentTooLarge,
    InvalidEncoding,
    InvalidOption,
    RequestError,
    UnreadableDocument,
)
from glyph_worker.intake import child
from glyph_worker.intake.child import WRONG
from glyph_worker.intake.kinds import Kind, Recognised, recognise
from glyph_worker.settings import Settings

_LIBRARY = {Kind.HTML: "selectolax", Kind.PDF: "pypdfium2"}
_WORDS = {Kind.HTML: "page", Kind.PDF: "PDF"}
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")
"""What a child knows of our environment: no address and no password is in it."""
_KINDS = {kind.code: kind for kind in (InvalidEncoding, UnreadableDocument, DocumentTooLarge)}


class FileReader:
    """Stateless and thread-safe; `read` blocks, for a PDF up to the wall limit."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.intake
        self._max_bytes = settings.limits.max_document_bytes

    def read(self, raw: bytes, *, name: str = "", content_type: str = "") -> Document:
        """Raises UnsupportedMedia, InvalidEncoding, UnreadableDocument, EmptyDocument,
        DocumentTooLarge, and ConfigurationError where the extra `intake` is not installed."""
        return self.read_recognised(raw, recognise(raw, name=name, content_type=content_type))

    def read_recognised(self, raw: bytes, found: Recognised) -> Document:
        """The second half of `read`: quick for a text, a child's time for the others."""
        if found.kind is Kind.TEXT:
            return Document.of(found.text, max_bytes=self._max_bytes)
        text, notes = self._in_child(raw, found)
        return Document.of(text, max_bytes=self._max_bytes).with_notes(notes)

    def _in_child(self, raw: bytes, found: Recognised) -> tuple[str, list[str]]:
        library, word, limits = _LIBRARY[found.kind], _WORDS[found.kind], self._limits
        if find_spec(library) is None:
            raise ConfigurationError(
                f"a {word} cannot be read without {library}; pip install 'glyph_worker[intake]'"
            )
        words = (found.kind, found.charset, int(limits.cpu_s), limits.memory_bytes, self._max_bytes)
        with _scratch() as given, _scratch() as said:
            given.write(raw)
            given.seek(0)
            try:
                done = subprocess.run(
                    [sys.executable, "-I", str(child.__file__), *map(str, words)],
                    stdin=given, stdout=said, stderr=subprocess.DEVNULL, check=False, cwd="/",
                    env={name: os.environ[name] for name in _KEPT if name in os.environ},
                    timeout=limits.wall_s,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise UnreadableDocument(
                    f"reading the {word} takes over {limits.wall_s:g} s; send its text, or split it"
                ) from None
            said.seek(0)
            reply = said.read()
        return _outcome(done.returncode, reply, word=word, limits=limits)


def read_path(path: Path, settings: Settings) -> Document:
    """A file by its name; `-` is standard input.

    Raises InvalidOption for one that cannot be opened, and what FileReader.read raises.
    """
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a NUL in its name
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise InvalidOption(f"{path} cannot be read: {reason}") from exc
    name = "" if str(path) == "-" else path.name
    return FileReader(settings).read(raw, name=name)


def _outcome(code: int, reply: bytes, *, word: str, limits: Any) -> tuple[str, list[str]]:
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
        return fields["text"], fields["notes"]
    if code == WRONG and "code" in fields:
        kind: type[RequestError] = _KINDS.get(fields["code"], UnreadableDocument)
        raise kind(fields["message"], **fields["details"])
    raise UnreadableDocument(
        f"the {word} cannot be read in {limits.memory_bytes >> 20} MB of memory, or is damaged; "
        "send its text, or split it"
    )


def _scratch() -> IO[bytes]:
    """A file without a name: a pipe could fill up while nobody reads, and has no size limit."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("glyph-intake"), "w+b")
    return tempfile.TemporaryFile()
