"""A job's pages as the model sees them: laid out again and drawn. Serves nothing.

Needs the `render` extra, loaded on the first call.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from glyph_worker import codec
from glyph_worker.errors import ConfigurationError, UnknownJob
from glyph_worker.job_options import JobOptions
from glyph_worker.settings import Settings
from glyph_worker.store.blobs import BlobStore
from glyph_worker.store.connection import Server
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys

if TYPE_CHECKING:
    from glyph_worker.render.pages.page import LaidPage

MAX_DOCUMENTS = 4
"""Layouts kept, so that leafing through a document lays it out once."""


class UnknownPage(UnknownJob):
    """The job is there, the page is not."""

    code = "unknown_page"


class PageDrawer:
    def __init__(self, settings: Settings, broker: Server, keys: Keys) -> None:
        queue = settings.queue
        self._settings = settings
        self._jobs = JobStore(broker, keys, ttl_s=queue.job_ttl_s, lease_s=queue.lease_s)
        self._blobs = BlobStore(broker, keys, ttl_s=queue.job_ttl_s)
        self._laid: OrderedDict[tuple[str, str], list[LaidPage]] = OrderedDict()
        self.turn = asyncio.Semaphore(1)

    def draw(self, job_id: str, number: int, known: str | None) -> tuple[str, bytes | None]:
        """Its digest and its PNG, or None where `known` is that digest. Blocking.

        Raises UnknownPage, JobExpired, InvalidStyle, ConfigurationError.
        """
        try:
            from glyph_worker.render.out.raster import draw
        except ImportError as exc:
            raise ConfigurationError(
                "this gateway cannot draw pages; pip install 'glyph_worker[render]'"
            ) from exc
        laid = self._pages(job_id)
        if number > len(laid):
            raise UnknownPage(
                f"no page {number}; the document has {len(laid)}",
                job_id=job_id,
                num_pages=len(laid),
            )
        page = laid[number - 1]
        if known == page.page.digest:
            return page.page.digest, None
        return page.page.digest, png(draw(page))

    def _pages(self, job_id: str) -> list[LaidPage]:
        from glyph_worker.render.choose import shape_of, style_of
        from glyph_worker.render.pictured import lay_out

        record = self._jobs.record(job_id)
        options = JobOptions.of(codec.unpack("options", record[b"options"]))
        steps = int(float(record.get(b"note:style_steps", 0)))
        style = style_of(self._settings, options, steps=steps)
        key = record[b"document_digest"].decode(), style.digest
        if key not in self._laid:
            document = self._blobs.get(key[0])
            laid: list[LaidPage] = []
            for one in lay_out(document, style, shape_of(self._settings)):
                laid.append(one)
                if len(laid) >= self._settings.limits.max_pages:
                    break
            self._laid[key] = laid
            if len(self._laid) > MAX_DOCUMENTS:
                self._laid.popitem(last=False)
        self._laid.move_to_end(key)
        return self._laid[key]


def png(pixels: Any) -> bytes:
    """Pixels uint8[height, width], or [height, width, 3], as a PNG file, losslessly."""
    height, width = pixels.shape[:2]
    raw = b"".join(b"\0" + pixels[y].tobytes() for y in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw, level=6)) + chunk(b"IEND", b"")
    )  # fmt: skip
