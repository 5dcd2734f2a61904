"""Uploaded files off the event loop: texts in the common threads, pages and PDFs in their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from glyph_worker.document import Document, SheetMode
from glyph_worker.intake.kinds import Kind, recognise
from glyph_worker.intake.reader import FileReader
from glyph_worker.settings import Settings

MAX_AT_ONCE = 4
"""Pages and PDFs read at once; the others wait their turn, and no text waits behind them."""


class FileIntake:
    def __init__(self, settings: Settings) -> None:
        self._reader = FileReader(settings)
        self._slow = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="intake")

    async def read(
        self, raw: bytes, *, name: str, content_type: str, pdf: SheetMode = "auto"
    ) -> Document:
        """Raises what FileReader.read raises."""
        found = await asyncio.to_thread(recognise, raw, name=name, content_type=content_type)
        if found.kind is Kind.TEXT:
            return await asyncio.to_thread(self._reader.read_recognised, raw, found)
        loop = asyncio.get_running_loop()
        read = partial(self._reader.read_recognised, raw, found, pdf=pdf)
        return await loop.run_in_executor(self._slow, read)
