"""Partial answers as they grow: one bounded Redis stream per job, read from any point on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from glyph_worker.job import Delta, JobStatus
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts


class StreamStore:
    """Thread-safe. Raises StoreUnavailable, StoreFull or StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys, ttl_s: int) -> None:
        self.client = client
        self.keys = keys
        self._run = Scripts(client, keys, ttl_s=ttl_s)

    def write(self, job_id: str, attempt: int, start: int, text: bytes) -> int | None:
        """Append UTF-8 text that follows the attempt's first `start` bytes. A new attempt starts
        its text anew.

        Sent twice it is written once. Returns how many bytes of the attempt's text are there now:
        fewer than `start` where the server lost some, which are then to be sent again. None when
        nothing is to be written any more: the job is final, or a later attempt writes.
        """
        held = int(self._run("stream", job_id, attempt, start, text))
        return None if held < 0 else held

    def read(self, job_id: str, after: str, *, block_s: float) -> Iterator[Delta]:
        """Entries after a sequence number, waiting up to `block_s` for the first."""
        key = self.keys.stream(job_id)
        block_ms = max(1, int(block_s * 1e3)) if block_s > 0 else None
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
