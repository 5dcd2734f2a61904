"""How a document lies on pages in a style, on the cache server: a shortcut, never a need."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

import redis

from glyph_worker import codec
from glyph_worker.document import Page, digest
from glyph_worker.store.connection import translated
from glyph_worker.store.keys import Keys


class LayoutStore:
    def __init__(self, client: redis.Redis, keys: Keys, *, url: str, ttl_s: int) -> None:
        self._client = client
        self._keys = keys
        self._url = url
        self._ttl_s = ttl_s

    def put(self, document_digest: str, style_digest: str, pages: Sequence[Page]) -> None:
        """Raises StoreUnavailable, StoreFull, StoreDenied."""
        rows = [list(dataclasses.astuple(page)) for page in pages]
        with translated(self._url):
            self._client.set(
                self._key(document_digest, style_digest),
                codec.pack("layout", {"pages": rows}),
                ex=self._ttl_s,
            )

    def get(self, document_digest: str, style_digest: str) -> list[Page] | None:
        """The pages in order, or None where nothing is stored."""
        with translated(self._url):
            # No renewal: the layout ends with the page images it was stored beside.
            raw = self._client.get(self._key(document_digest, style_digest))
        if raw is None:
            return None
        names = [field.name for field in dataclasses.fields(Page)]
        rows = codec.unpack("layout", cast(bytes, raw))["pages"]
        return [Page(**dict(zip(names, row, strict=True))) for row in rows]

    def _key(self, document_digest: str, style_digest: str) -> str:
        return self._keys.layout(digest("layout", document_digest, style_digest))
