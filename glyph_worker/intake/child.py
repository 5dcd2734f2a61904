"""Reads one page, PDF or picture, in a process of its own. `reader` runs it as a script.

    child.py {html|pdf|picture} CHARSET CPU_S MEMORY_BYTES MAX_BYTES MODE MAX_PICTURE_BYTES < file
    child.py ocr "" CPU_S MEMORY_BYTES 0 "" 0 < sheets

The reply is JSON: text, notes and sheets (exit 0), or code and message of what is wrong with the
file (exit WRONG). Any other end is a limit, or a crash: 20 kB of PDF can ask for minutes and
gigabytes. OCR's is a line of JSON for each sheet once it is read: a limit loses the rest only.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import resource
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glyph_worker.document import Sheet

WRONG = 2
_PLACES_BYTES = 64 << 20
"""Most that the places of a document's words take."""


def _limit(cpu_s: int, memory_bytes: int, reply_bytes: int) -> None:
    for what, limit in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, reply_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit of memory
            resource.setrlimit(what, (limit, hard))
    with contextlib.suppress(OSError):
        os.nice(5)  # who serves goes first


def _read(
    kind: str, charset: str, raw: bytes, max_bytes: int, mode: Any, max_picture_bytes: int
) -> dict[str, Any]:
    if kind == "html":
        from glyph_worker.intake.html import text_of_page

        text, notes = text_of_page(raw, charset)
        return {"text": text, "notes": notes}
    if kind == "picture":
        from glyph_worker.intake.pictures import sheets_of_pictures

        pictures = sheets_of_pictures(raw, max_bytes=max_picture_bytes)
        return {"text": "", "notes": [], "sheets": list(map(_packed, pictures))}
    from glyph_worker.intake.pdf import sheets_of_pdf

    text, sheets, unread = sheets_of_pdf(
        raw, max_bytes=max_bytes, mode=mode, max_picture_bytes=max_picture_bytes
    )
    return {"text": text, "notes": [], "sheets": list(map(_packed, sheets)), "unread": unread}


def _packed(sheet: Sheet) -> dict[str, Any]:
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in dataclasses.asdict(sheet).items()
    }


def unpacked(fields: dict[str, Any]) -> Sheet:
    """A sheet as it was before it travelled."""
    from glyph_worker.document import Sheet

    raw = {name: base64.b64decode(fields[name]) for name in ("places", "picture")}
    return Sheet(**{**fields, **raw})


def _read_pictures(raw: bytes) -> None:
    """OCR: `[[number, picture], …]` to a line each: `[number, width, height, words]`."""
    from glyph_worker.intake.ocr import OcrReader

    ocr = OcrReader()
    for number, picture in json.loads(raw):
        width, height, words = ocr.read(base64.b64decode(picture))
        reply = [number, width, height, [dataclasses.asdict(word) for word in words]]
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def main(
    kind: str,
    charset: str,
    cpu_s: str,
    memory_bytes: str,
    max_bytes: str,
    mode: str,
    max_picture_bytes: str,
) -> int:
    # The reply is JSON: a character takes up to eight bytes of it, and three of a picture four.
    reply_bytes = 8 * int(max_bytes) + 2 * int(max_picture_bytes) + _PLACES_BYTES
    _limit(int(cpu_s), int(memory_bytes), reply_bytes)
    # The package's own __init__ imports the client, which no child needs.
    package = types.ModuleType("glyph_worker")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["glyph_worker"] = package
    from glyph_worker.errors import RequestError

    raw = sys.stdin.buffer.read()
    if kind == "ocr":
        _read_pictures(raw)
        return 0
    try:
        reply = _read(kind, charset, raw, int(max_bytes), mode, int(max_picture_bytes))
        code = 0
    except RequestError as exc:
        code, reply = WRONG, exc.to_wire()
    sys.stdout.write(json.dumps(reply))  # ASCII: a lone surrogate travels as well
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
