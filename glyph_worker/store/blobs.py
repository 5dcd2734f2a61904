"""Documents by digest, on the broker's server: stored once, kept while any job may need them."""

from __future__ import annotations

import dataclasses
import zlib

from glyph_worker import codec
from glyph_worker.document import Document, Sheet, document_digest
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
            packed = _packed(document)
            # Not over one that another submit has stored, and perhaps kept, since.
            self._client.set(self._keys.blob(document.digest), packed, ex=self._ttl_s, nx=True)

    def get(self, name: str) -> Document:
        """Raises JobExpired when it is gone, StoreUnavailable when its bytes are damaged."""
        key = self._keys.blob(name)
        packed = self._client.get(key)
        if packed is None:
            raise JobExpired(
                f"document {name[:12]} is no longer stored "
                f"(kept {self._ttl_s} s from the end of its last job); submit it again"
            )
        assert isinstance(packed, bytes)
        try:
            raw, sheets = _unpacked(packed)
        except (zlib.error, codec.UnreadableEnvelope, KeyError, TypeError, ValueError) as exc:
            raise StoreUnavailable(f"document {name[:12]} is damaged: {exc}") from exc
        if document_digest(raw, sheets) != name:
            raise StoreUnavailable(f"document {name[:12]} is not what its digest names")
        return Document(text=raw.decode(), digest=name, sheets=sheets)


def _packed(document: Document) -> bytes:
    """A text compressed; beside sheets in an envelope, which no compressed bytes begin like."""
    raw = zlib.compress(document.text.encode(), level=1)
    if not document.sheets:
        return raw
    sheets = [
        dataclasses.asdict(sheet) | {"places": zlib.compress(sheet.places, level=1)}
        for sheet in document.sheets
    ]
    return codec.pack("document", {"text": raw, "sheets": sheets})


def _unpacked(packed: bytes) -> tuple[bytes, tuple[Sheet, ...]]:
    if packed[:1] == b"\x78":  # how zlib begins
        return zlib.decompress(packed), ()
    fields = codec.unpack("document", packed)
    sheets = tuple(
        Sheet(**{**sheet, "places": zlib.decompress(sheet["places"])}) for sheet in fields["sheets"]
    )
    return zlib.decompress(fields["text"]), sheets
