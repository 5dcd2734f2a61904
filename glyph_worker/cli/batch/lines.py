"""The source of a batch: one job per line. Reads, and asks nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyph_worker.checked_text import check_text, shown
from glyph_worker.document import Document, digest
from glyph_worker.errors import InvalidOption, RequestError

MAX_ID_CHARS = 200
TERMS = ("deadline_s", "ttl_s", "priority", "webhook")
"""What changes no answer: a line that differs in these alone is the same line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input: `{"id", "document" or "file", "question", …options}`."""

    number: int
    id: str
    """Its own, or else its number."""
    document: str | Path
    """Its text, or the file that holds it."""
    question: str
    options: dict[str, Any]

    def read(self, open_file: Callable[[Path], Document]) -> str | Document:
        """The document. Raises what `open_file` raises."""
        return open_file(self.document) if isinstance(self.document, Path) else self.document

    def content(self, document: str | Document) -> str:
        """Names all that its answer depends on: a line whose content changed is a new job."""
        text = document.text if isinstance(document, Document) else document
        raw = text.encode("utf-8", "surrogatepass")
        said = {name: value for name, value in self.options.items() if name not in TERMS}
        return digest("batch line", raw, self.question, json.dumps(said, sort_keys=True))[:16]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no job, and why."""

    number: int
    id: str | None
    """None where none can be read."""
    error: RequestError


def read_lines(path: Path) -> Iterator[Line | BadLine]:
    """What each line says; a `file` is relative to the input's folder. Raises InvalidOption where
    the file cannot be read."""
    seen: set[str] = set()
    try:
        rows = path.open("rb")
    except OSError as exc:
        raise InvalidOption(f"{path} cannot be read: {exc.strerror}") from exc
    with rows:
        for number, raw in enumerate(rows, start=1):
            if not raw.strip():
                continue
            line = _line(number, raw, path.parent)
            if line.id is not None and line.id in seen:
                error = InvalidOption(
                    f"an earlier line has the id {shown(line.id)}; ids differ", option="id"
                )
                line = BadLine(number, None, error)
            elif line.id is not None:
                seen.add(line.id)
            yield line


def _line(number: int, raw: bytes, folder: Path) -> Line | BadLine:
    name: str | None = None
    try:
        fields = _fields(raw)
        name = _id(fields.pop("id", number))
        for needed in ("question", "file" if "file" in fields else "document"):
            if not isinstance(fields.get(needed), str):
                found = shown(fields[needed]) if needed in fields else "missing"
                raise InvalidOption(f"{needed} is {found}, must be text", option=needed)
        if "document" in fields and "file" in fields:
            raise InvalidOption("document and file are both there; leave one out")
        if "idempotency_key" in fields:
            raise InvalidOption("a line has no idempotency_key; its id and content are its key")
        question = fields.pop("question")
        document = folder / fields.pop("file") if "file" in fields else fields.pop("document")
    except RequestError as exc:
        return BadLine(number, name, exc)
    return Line(number, name, document, question, fields)


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(raw.decode())
    except UnicodeDecodeError as exc:
        raise InvalidOption(
            f"it is not UTF-8: byte 0x{raw[exc.start]:02x} at offset {exc.start}; "
            "write the file as UTF-8"
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidOption(f"it is no JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise InvalidOption(f"it is a {type(fields).__name__}, must be a JSON object")
    return fields


def _id(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= MAX_ID_CHARS:
        raise InvalidOption(
            f"id is {shown(value)}, must be a whole number or text of 1 to "
            f"{MAX_ID_CHARS} characters",
            option="id",
        )
    check_text(text, "id")
    return text
