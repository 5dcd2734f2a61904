"""What segments answered, by content, on the cache server: a shortcut, never a need.

A reading is sealed to what it is asked for by, the tenant's salt among it, as layouts are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from glyph_worker import codec
from glyph_worker.document import digest
from glyph_worker.job import Answer
from glyph_worker.store.breaker import Rest
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys

_SEAL_BYTES = 32
T = TypeVar("T")

MapRow = tuple[int, int, str]
"""Start and end of a part, in characters of the text in normal form, and its summary's name."""


class ReadingStore:
    """Raises StoreUnavailable, StoreFull, StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys, *, ttl_s: int) -> None:
        """`client` has a short patience and no retries."""
        self._client = client
        self._keys = keys
        self._ttl_s = ttl_s
        self._rest = Rest(time.monotonic)

    def put(self, name: str, answer: Answer, *, salt: str) -> None:
        """`name` is a digest of all that decides the answer; `salt` is the tenant's."""
        self._keep(name, codec.pack("answer", answer.to_fields()), salt)

    def put_map(self, name: str, rows: Sequence[MapRow], *, salt: str) -> None:
        """Where the summaries of a document's parts are kept."""
        self._keep(name, codec.pack("map", {"rows": [list(row) for row in rows]}), salt)

    def get_map(self, name: str, *, salt: str) -> list[MapRow]:
        """[] where nothing is kept, or not what was asked for."""
        with self._rest.spared(str(self._client)):
            raw = cast("bytes | None", self._client.get(self._keys.reading(name)))
        return _opened("map", _rows, name, salt, raw) or []

    def get_many(self, names: Sequence[str], *, salt: str) -> list[Answer | None]:
        """None where nothing is kept, or not what was asked for."""
        if not names:
            return []
        with self._rest.spared(str(self._client)):
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.get(self._keys.reading(name))
            rows = cast("list[bytes | None]", pipe.execute())
        return [
            _opened("answer", Answer.from_fields, name, salt, raw)
            for name, raw in zip(names, rows, strict=True)
        ]

    def _keep(self, name: str, packed: bytes, salt: str) -> None:
        with self._rest.spared(str(self._client)):
            self._client.set(
                self._keys.reading(name), _seal(name, salt, packed) + packed, ex=self._ttl_s
            )


def _opened(
    kind: str, read: Callable[[dict[str, Any]], T], name: str, salt: str, raw: bytes | None
) -> T | None:
    """What was kept; None for nothing, or for what is not what was asked for."""
    if raw is None or raw[:_SEAL_BYTES] != _seal(name, salt, raw[_SEAL_BYTES:]):
        return None
    try:
        return read(codec.unpack(kind, raw[_SEAL_BYTES:]))
    except (codec.UnreadableEnvelope, KeyError, TypeError, ValueError):
        return None  # of another release


def _rows(fields: dict[str, Any]) -> list[MapRow]:
    return [(int(start), int(end), str(reading)) for start, end, reading in fields["rows"]]


def _seal(name: str, salt: str, packed: bytes) -> bytes:
    return bytes.fromhex(digest("reading-seal", salt, name, packed))
