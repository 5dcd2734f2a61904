"""Reads one page or PDF, in a process of its own. `reader` runs it as a script.

    child.py {html|pdf} CHARSET CPU_S MEMORY_BYTES MAX_BYTES < file > reply

The reply is JSON: text and notes (exit 0), or code and message of what is wrong with the file
(exit WRONG). Any other end is a limit, or a crash. 20 kB of PDF can ask for minutes and gigabytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import types
from pathlib import Path

WRONG = 2


def _limit(cpu_s: int, memory_bytes: int, max_bytes: int) -> None:
    for what, limit in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 8 * max_bytes + (1 << 20)),  # the reply, as JSON
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit of memory
            resource.setrlimit(what, (limit, hard))
    with contextlib.suppress(OSError):
        os.nice(5)  # who serves goes first


def _read(kind: str, charset: str, raw: bytes, max_bytes: int) -> tuple[str, list[str]]:
    if kind == "html":
        from glyph_worker.intake.html import text_of_page

        text, notes = text_of_page(raw, charset)
    else:
        from glyph_worker.intake.pdf import text_of_pdf

        text, notes = text_of_pdf(raw, max_bytes=max_bytes)
    return text, notes


def main(kind: str, charset: str, cpu_s: str, memory_bytes: str, max_bytes: str) -> int:
    _limit(int(cpu_s), int(memory_bytes), int(max_bytes))
    # The package's own __init__ imports the client, which no child needs.
    package = types.ModuleType("glyph_worker")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["glyph_worker"] = package
    from glyph_worker.errors import RequestError

    raw = sys.stdin.buffer.read()
    try:
        text, notes = _read(kind, charset, raw, int(max_bytes))
        code, reply = 0, {"text": text, "notes": notes}
    except RequestError as exc:
        code, reply = WRONG, exc.to_wire()
    sys.stdout.write(json.dumps(reply))  # ASCII: a lone surrogate travels as well
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
