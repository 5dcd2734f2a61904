"""Partial answers as they grow: one bounded Redis stream per job, read from any point on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from glyph_worker.job import Delta, JobStatus
from glyph_worker.store.connection import translated
from glyph_worker.store.keys import Keys

MAX_ENTRIES = 2_000


@dataclass(frozen=True, slots=True)
class StreamStore:
    client: redis.Redis
    keys: Keys
    url: str
    ttl_s: int

    def write(self, job_id: str, attempt: int, text: str) -> None:
        """Append what the answer grew by. A new attempt starts its text anew."""
        key = self.keys.stream(job_id)
        with translated(self.url):
            pipe = self.client.pipeline(transaction=False)
            fields: dict[Any, Any] = {"text": text, "attempt": attempt}
            pipe.xadd(key, fields, maxlen=MAX_ENTRIES, approximate=True)
            pipe.expire(key, self.ttl_s)
            pipe.execute()

    def read(self, job_id: str, after: str, *, block_s: float) -> Iterator[Delta]:
        """Entries after a sequence number, waiting up to `block_s` for the first."""
        key = self.keys.stream(job_id)
        block_ms = max(1, int(block_s * 1e3)) if block_s > 0 else None
        with translated(self.url):
            found = cast(Any, self.client.xread({key: after}, count=200, block=block_ms))
        for seq, fields in found[0][1] if found else ():
            yield delta_of(seq, fields)


def delta_of(seq: bytes, fields: dict[bytes, bytes]) -> Delta:
    """One entry of a stream. Raises ValueError for what is none of ours."""
    status = fields.get(b"status")
    return Delta(
        seq=seq.decode(),
        text=fields.get(b"text", b"").decode(),
        attempt=int(fields.get(b"attempt", 0)),
        status=None if status is None else JobStatus(status.decode()),
    )
