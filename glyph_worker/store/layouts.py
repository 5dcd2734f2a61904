"""How a document lies on pages in a style, on the cache server: a shortcut, never a need.

A layout is sealed to what it is asked for by: document, style and the tenant's salt, which is in
its name as well. What does not fit is a miss.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from glyph_worker import codec
from glyph_worker.document import Page, digest
from glyph_worker.store.breaker import Rest
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys

_SEAL_BYTES = 32
_NAMES = [field.name for field in dataclasses.fields(Page)]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredLayout:
    pages: tuple[Page, ...]
    """In order."""
    num_missing_glyphs: int
    """Characters of the document that no font has."""


class LayoutStore:
    """Raises StoreUnavailable, StoreFull, StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys, *, ttl_s: int) -> None:
        """`client` has a short patience and no retries."""
        self._client = client
        self._keys = keys
        self._ttl_s = ttl_s
        self._rest = Rest(time.monotonic)

    def put(
        self, document_digest: str, style_digest: str, layout: StoredLayout, *, salt: str
    ) -> None:
        """`salt` is the tenant's (features.digest.tenant_salt)."""
        name = _name(document_digest, style_digest, salt)
        rows = [list(dataclasses.astuple(page)) for page in layout.pages]
        packed = codec.pack("layout", {"pages": rows, "missing": layout.num_missing_glyphs})
        with self._rest.spared(str(self._client)):
            self._client.set(
                self._keys.layout(name), _seal(name, salt, packed) + packed, ex=self._ttl_s
            )

    def get(self, document_digest: str, style_digest: str, *, salt: str) -> StoredLayout | None:
        """None where nothing is stored, or not what was asked for."""
        name = _name(document_digest, style_digest, salt)
        with self._rest.spared(str(self._client)):
            # No renewal: the layout ends with the page images it was stored beside.
            sealed = self._client.get_string(self._keys.layout(name))
        if sealed is None or sealed[:_SEAL_BYTES] != _seal(name, salt, sealed[_SEAL_BYTES:]):
            return None
        try:
            return _layout(codec.unpack("layout", sealed[_SEAL_BYTES:]))
        except (codec.UnreadableEnvelope, KeyError, TypeError, ValueError):
            return None  # of another release

    def drop(self, document_digest: str, style_digest: str, *, salt: str) -> None:
        with self._rest.spared(str(self._client)):
            self._client.unlink(self._keys.layout(_name(document_digest, style_digest, salt)))


def _name(document_digest: str, style_digest: str, salt: str) -> str:
    return digest("layout", document_digest, style_digest, salt)


def _seal(name: str, salt: str, packed: bytes) -> bytes:
    """The salt again: it is derived from a secret, and the name can be read on the server."""
    return bytes.fromhex(digest("layout-seal", salt, name, packed))


def _layout(fields: dict[str, Any]) -> StoredLayout:
    rows = cast("Sequence[Sequence[Any]]", fields["pages"])
    pages = tuple(Page(**dict(zip(_NAMES, row, strict=True))) for row in rows)
    return StoredLayout(pages=pages, num_missing_glyphs=int(fields["missing"]))
