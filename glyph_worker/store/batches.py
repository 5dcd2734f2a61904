"""Batches: a file of requests, how far it is, and whose turn it is to move it on. Asks nothing."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, cast

from glyph_worker.checked_text import is_text
from glyph_worker.errors import RequestError
from glyph_worker.store.clock import server_time
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts

MAX_LISTED = 1_000
"""Newest batches of a tenant that a list shows."""
TTL_S = 30 * 86_400


class UnknownBatch(RequestError):
    code = "batch_not_found"
    http_status = 404


class BatchStatus(StrEnum):
    VALIDATING = "validating"
    """Its lines have not been looked at."""
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    """Final: every line has its answer or its error in a file."""
    FAILED = "failed"
    """Final: its lines were not fit to be asked; nothing was."""
    EXPIRED = "expired"
    """Final: the window closed before every line had ended."""
    CANCELLED = "cancelled"
    """Final: taken back; what had ended is in the files."""

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset(
    {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Times are seconds since the epoch, None if not yet."""

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: float
    expires_at: float
    status: BatchStatus = BatchStatus.VALIDATING
    metadata: dict[str, str] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    """Of lines that were not fit: line, code, message."""
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Lines that were fit and that no job was made of, by number: code, message."""
    num_lines: int = 0
    num_submitted: int = 0
    num_completed: int = 0
    num_failed: int = 0
    in_progress_at: float | None = None
    cancelling_at: float | None = None
    ended_at: float | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Batch:
        """Entries of a newer gateway, in a rolling deploy, are dropped."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in json.loads(raw).items() if name in known}
        return cls(**values | {"status": BatchStatus(values["status"])})


class BatchStore:
    """Raises StoreUnavailable, StoreFull or StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._run = Scripts(client, keys, ttl_s=TTL_S)

    def now(self) -> float:
        """Seconds since the epoch by the server's clock, on which all times of batches are."""
        return server_time(self._client)

    def create(self, batch: Batch, lines: bytes) -> Batch:
        """Keep a batch with its lines, due at once. One of the same id is there already: that."""
        kept = self._run(
            "batch_create", batch.tenant, batch.id, batch.to_json(), zlib.compress(lines, level=1)
        )
        return Batch.from_json(kept)

    def get(self, tenant: str, batch_id: str) -> Batch:
        """Raises UnknownBatch."""
        raw = self._field(tenant, batch_id, "state")
        if raw is None:
            raise UnknownBatch(
                f"no batch {batch_id[:60]!r} here: never made, or over its time to live"
            )
        batch = Batch.from_json(raw)
        if not batch.status.final and self._field(tenant, batch_id, "cancel") is not None:
            return replace(batch, status=BatchStatus.CANCELLING)
        return batch

    def lines(self, tenant: str, batch_id: str) -> bytes:
        """The requests; empty once the batch is final."""
        packed = self._field(tenant, batch_id, "lines")
        return b"" if packed is None else zlib.decompress(packed)

    def cancel_asked(self, tenant: str, batch_id: str) -> bool:
        return self._field(tenant, batch_id, "cancel") is not None

    def ask_cancel(self, tenant: str, batch_id: str) -> None:
        """Of one that is final nothing changes. The batch is due at once."""
        self._run("batch_cancel", tenant, batch_id)

    def newest(self, tenant: str) -> list[Batch]:
        """Of a tenant, newest first, at most MAX_LISTED."""
        index = self._keys.batches_of(tenant)
        ids = cast("list[bytes]", self._client.zrevrange(index, 0, MAX_LISTED - 1))
        pipe = self._client.pipeline(transaction=False)
        for raw in ids:
            pipe.hget(self._keys.batch(tenant, raw.decode()), "state")
        rows = pipe.execute() if ids else []
        return [Batch.from_json(row) for row in rows if row is not None]

    def take(self, *, limit: int, lease_s: float) -> list[tuple[str, str]]:
        """(tenant, id) of batches that are due; each comes back after `lease_s` unless saved."""
        found = [raw.decode() for raw in self._run("batch_take", limit, lease_s)]
        return list(zip(found[::2], found[1::2], strict=True))

    def save(self, batch: Batch, *, again_s: float) -> None:
        """Keep how far it is; due again after `again_s`, or never when it is final."""
        due = "" if batch.status.final else again_s
        self._run("batch_save", batch.tenant, batch.id, batch.to_json(), due)

    def _field(self, tenant: str, batch_id: str, name: str) -> bytes | None:
        if not is_text(batch_id):
            return None
        return cast("bytes | None", self._client.hget(self._keys.batch(tenant, batch_id), name))
