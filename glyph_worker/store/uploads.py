"""Files that a tenant has uploaded, or that a batch has left for it. On the broker's server."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, cast

from glyph_worker import codec
from glyph_worker.checked_text import is_text
from glyph_worker.errors import QuotaExceeded, RequestError, StoreUnavailable
from glyph_worker.store.clock import server_time
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts

MAX_FILES, MAX_BYTES = 1_000, 256 << 20
"""Of one tenant, as they are stored (compressed)."""
MAX_TTL_S = 30 * 86_400
PLACE_TTL_S = 3_600
"""So long a deleted file's place in the list is known, for whoever deletes while listing."""


class UnknownFile(RequestError):
    code = "file_not_found"
    http_status = 404


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    id: str
    name: str
    purpose: str
    num_bytes: int
    """As it came."""
    created_at: float
    """Seconds since the epoch, as expires_at."""
    expires_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    name: str
    raw: bytes


class UploadStore:
    """Raises StoreUnavailable, StoreFull or StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._run = Scripts(client, keys, ttl_s=MAX_TTL_S)

    def put(
        self,
        tenant: str,
        file_id: str,
        raw: bytes,
        *,
        name: str,
        purpose: str,
        ttl_s: int = MAX_TTL_S,
        ours: bool = False,
    ) -> FileInfo:
        """Keep a file; one that is there already stays as it is.

        `ours`: written by the service, which no quota may stop. Raises QuotaExceeded.
        """
        packed = zlib.compress(raw, level=1)
        now = server_time(self._client)
        info = FileInfo(
            id=file_id, name=name, purpose=purpose, num_bytes=len(raw), created_at=now,
            expires_at=now + ttl_s,
        )  # fmt: skip
        fields = {"name": name, "purpose": purpose, "num_bytes": len(raw), "created_at": now,
                  "expires_at": info.expires_at}  # fmt: skip
        limits = (0, 0) if ours else (MAX_FILES, MAX_BYTES)
        outcome, number = self._run(
            "upload", tenant, file_id, codec.pack("file", fields), packed, ttl_s, *limits
        )
        if outcome == b"stored":
            return info
        limit, unit = (MAX_FILES, "files") if outcome == b"files" else (MAX_BYTES, "bytes")
        raise QuotaExceeded(
            f"tenant {tenant!r} would have {int(number)} {unit} stored, its limit is {limit}; "
            "delete some, or let them expire",
            retry_after_s=60,
        )

    def info(self, tenant: str, file_id: str) -> FileInfo:
        """Raises UnknownFile."""
        packed = self._client.hget(self._key(tenant, file_id), "info")
        return _info(file_id, _there(cast("bytes | None", packed), file_id))

    def get(self, tenant: str, file_id: str) -> StoredFile:
        """Raises UnknownFile; StoreUnavailable when its bytes are damaged."""
        row = self._client.hmget(self._key(tenant, file_id), ["info", "raw"])
        packed, raw = cast("list[bytes | None]", row)
        info = _info(file_id, _there(packed, file_id))
        try:
            return StoredFile(name=info.name, raw=zlib.decompress(raw or b""))
        except zlib.error as exc:
            raise StoreUnavailable(f"file {file_id[:60]} is damaged: {exc}") from exc

    def listed(
        self, tenant: str, *, newest_first: bool = True, after: str | None = None
    ) -> list[FileInfo]:
        """All of a tenant's that are still kept, by creation; with `after` those behind that one,
        which may have been deleted within PLACE_TTL_S. Raises UnknownFile for another `after`."""
        index = self._keys.files_of(tenant)
        rows = self._client.zrange(index, 0, -1, withscores=True, score_cast_func=float)
        places = [(score, raw) for raw, score in cast("list[tuple[bytes, float]]", rows)]
        if after is not None:
            known = next((one for one in places if one[1] == after.encode(errors="replace")), None)
            at = known or (self._old_place(tenant, after), after.encode())
            places = [one for one in places if (one < at if newest_first else one > at)]
        ids = [raw.decode() for _, raw in (reversed(places) if newest_first else places)]
        pipe = self._client.pipeline(transaction=False)
        for file_id in ids:
            pipe.hget(self._key(tenant, file_id), "info")
        found = pipe.execute() if ids else []
        return [
            _info(file_id, packed)
            for file_id, packed in zip(ids, found, strict=True)
            if packed is not None
        ]

    def delete(self, tenant: str, file_id: str) -> None:
        """Raises UnknownFile. Its place in the list stays known for a while."""
        key, index = self._key(tenant, file_id), self._keys.files_of(tenant)
        place = self._client.zscore(index, file_id)
        if place is None:
            raise _unknown(file_id)
        pipe = self._client.pipeline()
        pipe.hdel(key, "info", "raw")
        pipe.hset(key, "place", repr(place))
        pipe.expire(key, PLACE_TTL_S)
        pipe.zrem(index, file_id)
        if not pipe.execute()[0]:
            raise _unknown(file_id)

    def _old_place(self, tenant: str, file_id: str) -> float:
        """Of a file that was deleted. Raises UnknownFile."""
        place = self._client.hget(self._key(tenant, file_id), "place")
        return float(_there(cast("bytes | None", place), file_id))

    def _key(self, tenant: str, file_id: str) -> str:
        """Raises UnknownFile for what no file's id can be."""
        if not is_text(file_id):
            raise _unknown("?")
        return self._keys.file(tenant, file_id)


def _there(packed: bytes | None, file_id: str) -> bytes:
    if packed is None:
        raise _unknown(file_id)
    return packed


def _unknown(file_id: str) -> UnknownFile:
    return UnknownFile(f"no file {file_id[:60]!r} here: never uploaded, deleted, or expired")


def _info(file_id: str, packed: bytes) -> FileInfo:
    fields: dict[str, Any] = codec.unpack("file", packed)
    return FileInfo(id=file_id, **fields)
