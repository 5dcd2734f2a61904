"""Documents by digest, on the broker's server: stored once, kept while any job may need them."""

from __future__ import annotations

import zlib

from glyph_worker.document import Document, digest
from glyph_worker.errors import JobExpired, StoreUnavailable
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts


class BlobStore:
    def __init__(self, client: Server, keys: Keys, *, ttl_s: int) -> None:
        self._client = client
        self._keys = keys
        self._ttl_s = ttl_s
        self._run = Scripts(client, keys, ttl_s=ttl_s)

    def put(self, document: Document) -> None:
        """Store the document unless it is there; renew its time to live either way.

        The submit that follows takes the time to live away, until no job needs the document.
        """
        if not self._run("renew_document", document.digest):
            packed = zlib.compress(document.text.encode(), level=1)
            # Not over one that another submit has stored, and perhaps kept, since.
            self._client.set(self._keys.blob(document.digest), packed, ex=self._ttl_s, nx=True)

    def get(self, document_digest: str) -> Document:
        """Raises JobExpired when it is gone, StoreUnavailable when its bytes are damaged."""
        key = self._keys.blob(document_digest)
        packed = self._client.get(key)
        if packed is None:
            raise JobExpired(
                f"document {document_digest[:12]} is no longer stored "
                f"(kept {self._ttl_s} s from the end of its last job); submit it again"
            )
        assert isinstance(packed, bytes)
        try:
            raw = zlib.decompress(packed)
        except zlib.error as exc:
            raise StoreUnavailable(f"document {document_digest[:12]} is damaged: {exc}") from exc
        if digest("document", raw) != document_digest:
            raise StoreUnavailable(f"document {document_digest[:12]} is not what its digest names")
        return Document(text=raw.decode(), digest=document_digest)
