"""Finds a PDF's text. Run by pdf.py as a script: imports pypdf and nothing of ours.

The PDF on standard input, its text on standard output; what is wrong with it there as well, with
exit code 2. Any other end is memory, or a crash.
"""

from __future__ import annotations

import io
import resource
import sys

MAX_PAGES = 5_000
MAX_MEMORY_BYTES = 1 << 30
"""Address space; Python and pypdf alone take a tenth."""
WRONG = 2


class Wrong(Exception):
    """With words for the caller."""


def text_of(raw: bytes) -> str:
    """Raises Wrong, MemoryError."""
    import pypdf

    try:
        reader = pypdf.PdfReader(io.BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Wrong("the PDF asks for a password; send it without one")
        if len(reader.pages) > MAX_PAGES:
            raise Wrong(f"the PDF has {len(reader.pages)} pages, limit is {MAX_PAGES}; split it")
        pages = [page.extract_text() for page in reader.pages]
    except (Wrong, MemoryError):
        raise
    except Exception as exc:  # a damaged file shows as any, deep inside
        raise Wrong(f"the PDF cannot be read: {type(exc).__name__}") from exc
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if not text:
        raise Wrong(
            f"the PDF's {len(pages)} pages hold no text, only images; run OCR over it first"
        )
    return text


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        code, said = 0, text_of(sys.stdin.buffer.read())
    except Wrong as exc:
        code, said = WRONG, str(exc)
    sys.stdout.buffer.write(said.encode("utf-8", "replace"))
    return code


if __name__ == "__main__":
    sys.exit(main())
