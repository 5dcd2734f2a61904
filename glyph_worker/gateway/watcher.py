"""News of many jobs by one poll: whoever waits, over HTTP, shares it. Holds no request's thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import redis
import structlog

from glyph_worker.errors import GlyphError
from glyph_worker.job import FINAL, Delta, JobStatus
from glyph_worker.store.connection import translated
from glyph_worker.store.keys import Keys

log = structlog.get_logger(__name__)

TICK_S = 0.05
FIRST, MAX_BUFFERED = "0-0", 200
"""A follower that does not read gets no more than this; the rest stays in Redis for it."""

_FINAL = frozenset(status.value.encode() for status in FINAL)


@dataclass(eq=False)
class _Follower:
    job_id: str
    after: str
    fresh: list[Delta] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    error: GlyphError | None = None


@dataclass(eq=False)
class _Waiter:
    job_id: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher:
    """One per gateway process. Two hundred long polls cost one round trip per tick."""

    def __init__(self, client: redis.Redis, keys: Keys, *, url: str) -> None:
        self._client = client
        self._keys = keys
        self._url = url
        self._followers: set[_Follower] = set()
        self._waiters: set[_Waiter] = set()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def num_watching(self) -> int:
        return len(self._followers) + len(self._waiters)

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._poll())

    def close(self) -> None:
        """Every wait and every stream ends soon; clients come back elsewhere."""
        self._closing.set()
        self._wake.set()
        for follower in self._followers:
            follower.ready.set()
        for waiter in self._waiters:
            waiter.ended.set()

    async def stop(self) -> None:
        self.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def ended(self, job_id: str, *, within_s: float) -> None:
        """Return when the job is final, the time is over or the gateway closes."""
        waiter = _Waiter(job_id)
        self._waiters.add(waiter)
        self._wake.set()
        try:
            if not self.closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiter.ended.wait(), within_s)
        finally:
            self._waiters.discard(waiter)

    async def follow(self, job_id: str, *, after: str, idle_s: float) -> AsyncIterator[list[Delta]]:
        """What the answer grew by, in order, the last delta with its final status.

        An empty list after `idle_s` without news. Ends with the job or the gateway. Raises
        StoreUnavailable.
        """
        follower = _Follower(job_id, after)
        self._followers.add(follower)
        self._wake.set()
        try:
            while not self.closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(follower.ready.wait(), idle_s)
                follower.ready.clear()
                if follower.error is not None:
                    raise follower.error
                fresh, follower.fresh = follower.fresh, []
                yield fresh
                if any(delta.status is not None for delta in fresh):
                    return
        finally:
            self._followers.discard(follower)

    async def _poll(self) -> None:
        while True:
            if not self._followers and not self._waiters:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._look()
            except GlyphError as exc:
                log.warning("gateway.watch_missed", error=exc.code)
                for follower in self._followers:
                    follower.error = exc
                    follower.ready.set()
                await asyncio.sleep(1)
            await asyncio.sleep(TICK_S)

    async def _look(self) -> None:
        hungry = [f for f in self._followers if not f.fresh]
        waiters = list(self._waiters)
        afters: dict[str, str] = {}
        for follower in hungry:
            known = afters.get(follower.job_id)
            if known is None or _order(follower.after) < _order(known):
                afters[follower.job_id] = follower.after
        ids = list({waiter.job_id for waiter in waiters})
        if not afters and not ids:
            return
        entries, statuses = await asyncio.to_thread(self._read, afters, ids)
        for follower in hungry:
            found = [
                delta
                for delta in entries.get(follower.job_id, [])
                if _order(delta.seq) > _order(follower.after)
            ]
            if found:
                follower.fresh, follower.after = found, found[-1].seq
                follower.ready.set()
        for waiter in waiters:
            # No record any more is an end too: the next look says so.
            if (statuses.get(waiter.job_id) or b"succeeded") in _FINAL:
                waiter.ended.set()

    def _read(
        self, afters: dict[str, str], ids: list[str]
    ) -> tuple[dict[str, list[Delta]], dict[str, bytes | None]]:
        names = {self._keys.stream(job_id).encode(): job_id for job_id in afters}
        with translated(self._url):
            pipe = self._client.pipeline(transaction=False)
            if afters:
                streams: dict[Any, Any] = {
                    self._keys.stream(job_id): after for job_id, after in afters.items()
                }
                pipe.xread(streams, count=MAX_BUFFERED)
            for job_id in ids:
                pipe.hget(self._keys.job(job_id), "status")
            replies: list[Any] = pipe.execute()
        found = replies.pop(0) if afters else []
        # RESP3 gives a map of lists of lists, RESP2 a list of pairs.
        rows = found.items() if isinstance(found, dict) else found or []
        entries = {}
        for name, batch in rows:
            flat = batch[0] if isinstance(found, dict) and batch else batch
            entries[names[name]] = [_delta(seq, fields) for seq, fields in flat]
        return entries, dict(zip(ids, replies, strict=True))


def _delta(seq: bytes, fields: dict[bytes, bytes]) -> Delta:
    status = fields.get(b"status")
    return Delta(
        seq=seq.decode(),
        text=fields.get(b"text", b"").decode(),
        attempt=int(fields.get(b"attempt", 0)),
        status=None if status is None else JobStatus(status.decode()),
    )


def _order(seq: str) -> tuple[int, int]:
    """Sequence numbers as Redis compares them. Raises ValueError."""
    first, _, second = seq.partition("-")
    return int(first), int(second or 0)


def is_sequence(seq: str) -> bool:
    first, dash, second = seq.partition("-")
    parts = (first, second) if dash else (first,)
    return all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts)
