"""Partial answers as they grow: one bounded Redis stream per job, read from any point on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from glyph_worker.checked_text import shown
from glyph_worker.errors import InvalidOption
from glyph_worker.job import Delta, JobStatus
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts

FIRST = "0-0"
"""Before the first entry."""

MAX_READ = 200
"""Entries in one reply."""

Row = tuple[bytes, dict[bytes, bytes]]
"""One entry as it comes from Redis."""


class StreamStore:
    """Thread-safe. Raises StoreUnavailable, StoreFull or StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys, ttl_s: int) -> None:
        self.client = client
        self.keys = keys
        self._run = Scripts(client, keys, ttl_s=ttl_s)

    def write(self, job_id: str, attempt: int, owner: str, start: int, text: bytes) -> int | None:
        """Append UTF-8 text that follows the attempt's first `start` bytes. A new attempt starts
        its text anew.

        Sent twice it is written once. Returns how many bytes of the attempt's text are there now:
        fewer than `start` where the server lost some, which are then to be sent again. None when
        nothing is to be written any more: another holds the job by now, or it is final.
        """
        held = int(self._run("stream", job_id, attempt, owner, start, text))
        return None if held < 0 else held

    def read(self, job_id: str, after: str, *, block_s: float) -> Iterator[Delta]:
        """Entries after a sequence number as they are, waiting up to `block_s` for the first."""
        for seq, fields in self._rows(job_id, after, block_s):
            yield delta_of(seq, fields)

    def follow(self, job_id: str, cursor: Cursor, *, block_s: float) -> list[Delta]:
        """What a reader has not got yet, waiting up to `block_s` for it; moves its cursor."""
        if not cursor.found:
            key = self.keys.stream(job_id)
            cursor.locate(cast(Any, self.client.xrange(key, cursor.after, cursor.after)))
        return cursor.take(self._rows(job_id, cursor.after, block_s))

    def _rows(self, job_id: str, after: str, block_s: float) -> list[Row]:
        key = self.keys.stream(job_id)
        block_ms = max(1, int(block_s * 1e3)) if block_s > 0 else None
        found = cast(Any, self.client.xread({key: after}, count=MAX_READ, block=block_ms))
        return found[0][1] if found else []


@dataclass(slots=True)
class Cursor:
    """How far one reader of one job's stream is. With it, what the reader gets always joins to the
    answer, whatever the server forgot.

    A server that is killed may lose its last second: entries that were read already, which the
    writer then sends again, or a whole attempt, whose number another worker takes. An entry says
    where its text stands in its attempt's answer, so what is known is left out, and what follows on
    nothing that the reader has waits for a text that begins anew.
    """

    after: str = FIRST
    attempt: int = 0
    end: int = 0
    """Bytes of the attempt's text that the reader has."""
    found: bool = True
    """`after` is known to be an entry of the stream."""
    torn: bool = False
    """Text before the entries read is missing; nothing is handed out until one begins anew."""
    ended: bool = False
    """The entry with the final status was read."""

    @classmethod
    def at(cls, after: str) -> Cursor:
        """Of a reader that goes on after this entry. Raises InvalidOption for what names none."""
        if not isinstance(after, str) or not is_sequence(after):
            raise InvalidOption(
                f"after is {shown(after)}, must be the seq of a delta, such as '1700000000000-0'; "
                "leave it away to begin at the beginning",
                option="after",
            )
        return cls(after=after, found=order(after) == order(FIRST))

    def doubt(self) -> None:
        """Look again whether the server still has what was read last."""
        self.found = order(self.after) == order(FIRST)

    def locate(self, rows: list[Row]) -> None:
        """`rows`: the entry `after`, or none, where the server has lost it: from the beginning."""
        self.found = True
        if not rows:
            self.after, self.attempt, self.end, self.torn = FIRST, 0, 0, False
            return
        fields = rows[0][1]
        self.attempt = int(fields.get(b"attempt", 0))
        # An older release does not say; that the text has begun is what counts then.
        self.end = int(fields.get(b"end", max(1, self.end)))
        self.ended = b"status" in fields

    def take(self, rows: Iterable[Row]) -> list[Delta]:
        """What these entries add for this reader. Raises ValueError for what is none of ours."""
        found = []
        for seq, fields in rows:
            if order(seq.decode()) <= order(self.after):
                continue
            delta = self._added(seq, fields)
            self.after = seq.decode()
            if delta.text or delta.status is not None:
                found.append(delta)
                self.ended = delta.status is not None
        return found

    def _added(self, seq: bytes, fields: dict[bytes, bytes]) -> Delta:
        raw, delta = fields.get(b"text", b""), delta_of(seq, fields)
        if not raw:
            return delta
        same = delta.attempt == self.attempt
        # An older release's entry does not say where its text stands: it follows on the last.
        start = int(fields[b"end"]) - len(raw) if b"end" in fields else self.end if same else 0
        if start <= 0:
            self.attempt, self.end, self.torn = delta.attempt, len(raw), False
            return delta_of(seq, fields, anew=True)
        if self.torn or not same or start > self.end:
            self.torn = True
            return delta_of(seq, fields | {b"text": b""})
        fresh = raw[self.end - start :]
        self.end = max(self.end, start + len(raw))
        return delta_of(seq, fields | {b"text": fresh})


def delta_of(seq: bytes, fields: dict[bytes, bytes], *, anew: bool = False) -> Delta:
    """One entry of a stream. Raises ValueError for what is none of ours."""
    status = fields.get(b"status")
    return Delta(
        seq=seq.decode(),
        text=fields.get(b"text", b"").decode(),
        attempt=int(fields.get(b"attempt", 0)),
        anew=anew,
        status=None if status is None else JobStatus(status.decode()),
    )


def order(seq: str) -> tuple[int, int]:
    """Sequence numbers as Redis compares them. Raises ValueError."""
    first, _, second = seq.partition("-")
    return int(first), int(second or 0)


def is_sequence(seq: str) -> bool:
    first, dash, second = seq.partition("-")
    parts = (first, second) if dash else (first,)
    return all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts)
