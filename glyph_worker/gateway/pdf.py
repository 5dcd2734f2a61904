"""PDF to text, each in a process of its own: 20 kB of PDF can ask for minutes and gigabytes."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from glyph_worker.errors import UnreadableDocument
from glyph_worker.gateway import pdf_child
from glyph_worker.gateway.pdf_child import MAX_MEMORY_BYTES, WRONG

MAX_AT_ONCE = 4
"""PDFs read at once; the others wait their turn."""

_CHILD = str(pdf_child.__file__)


class PdfReader:
    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def text(self, raw: bytes) -> str:
        """Raises UnreadableDocument, also for one that takes too long or too much memory."""
        async with self._turns:
            code, said = await self._run(raw)
        if code == WRONG:
            raise UnreadableDocument(said.decode())
        if code != 0:
            raise UnreadableDocument(
                f"the PDF cannot be read in {MAX_MEMORY_BYTES >> 20} MB; send its text, or split it"
            )
        return said.decode()

    async def _run(self, raw: bytes) -> tuple[int | None, bytes]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", _CHILD,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._timeout_s):
                said, _ = await child.communicate(raw)
        except TimeoutError:
            raise UnreadableDocument(
                f"reading the PDF takes over {self._timeout_s:g} s; send its text, or split it"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        return child.returncode, said
