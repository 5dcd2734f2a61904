"""Page images on the cache server, for whoever encodes them: a shortcut, never a need."""

from __future__ import annotations

import time
import zlib

from glyph_worker.store.breaker import Rest
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys

_SEALED = b"GWP1"


class PageImages:
    def __init__(self, client: Server, keys: Keys, *, ttl_s: int) -> None:
        """`client` has a short patience and no retries: drawing a page takes no longer."""
        self._client = client
        self._keys = keys
        self._ttl_s = ttl_s
        self._rest = Rest(time.monotonic)

    def put(self, digest: str, packed: bytes) -> None:
        """Keep a page image in the renderer's wire form (opaque bytes here).

        Raises StoreUnavailable, StoreFull, StoreDenied.
        """
        check = zlib.crc32(packed).to_bytes(4, "big")
        sealed = b"".join((_SEALED, bytes.fromhex(digest), check, packed))
        with self._rest.spared(str(self._client)):
            self._client.set(self._keys.page(digest), sealed, ex=self._ttl_s)

    def get(self, digest: str) -> bytes | None:
        """The bytes of `put`; None when missing, damaged or another page's."""
        with self._rest.spared(str(self._client)):
            sealed = self._client.get_string(self._keys.page(digest))
        if sealed is None or sealed[:4] != _SEALED or sealed[4:36] != bytes.fromhex(digest):
            return None
        packed = sealed[40:]
        return packed if zlib.crc32(packed) == int.from_bytes(sealed[36:40], "big") else None
